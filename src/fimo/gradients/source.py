"""The cheapest right way to a problem's per-example gradients, and a few means over its training rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import Tensor

from fimo.gradients.base import Gradients, joined_blocks
from fimo.gradients.cotangents import Cotangents, of_fisher, of_loss
from fimo.gradients.dense import per_example_gradients
from fimo.gradients.factored import Factorisation, factorisation_of, layer_gradients
from fimo.gradients.footprint import activation_bytes
from fimo.gradients.passes import layer_passes
from fimo.gradients.verified import FactorsDiffer, agreed, warn_of_dense_gradients
from fimo.gradients.vmapped import vmap_takes
from fimo.memory import BLOCK_BYTES
from fimo.problem import Problem
from fimo.rows import Rows


class GradientSource:
    """Gradients as factors of each layer where most parameters are in such layers, as they are (dense) otherwise.

    The factorisation is read off the modules and two rows; that it holds for all others is verified when their
    gradients are made, see `fimo.gradients.verified`.

    Args:
        problem: network, objective and rows.
        factored: False for dense gradients in any case.
        block_bytes: bound on the memory of one block of gradients.
        coordinates: takes gradients to other coordinates (see `DiagonalMetric`); None for those of θ itself.
    """

    def __init__(
        self,
        problem: Problem,
        factored: bool = True,
        block_bytes: int = BLOCK_BYTES,
        coordinates: Callable[[Gradients], Gradients] | None = None,
    ) -> None:
        self.problem, self.coordinates = problem, coordinates
        self.factorisation = agreed(problem.network, partial(factorisation_for, problem)) if factored else None
        extra = problem.size * problem.dtype.itemsize if self.factorisation is None else self.factorisation.extra_bytes
        self.row_bytes = activation_bytes(problem) + extra  # while a row's gradient is made
        self.block_rows = max(1, block_bytes // self.row_bytes)

    @property
    def factored(self) -> bool:
        """Whether gradients come in factors."""
        return self.factorisation is not None

    @cached_property
    def lambda_0(self) -> float:
        """The mean over training rows and parameters of the squared gradient: the paper's unit of damping."""
        return mean_square(self)

    def __call__(self, rows: Rows, cotangents: Cotangents = of_loss, names: Collection[str] | None = None) -> Gradients:
        """Gradients of the loss, or of other scalars, at all `rows`.

        Args:
            rows: the examples.
            cotangents: of the scalars that are differentiated, the loss by default.
            names: of the parameters in θ that are differentiated by, all of a layer's or none; None for all.

        Returns:
            Row after row; where an example has several scalars they follow each other.
        """
        gradients: Gradients
        if self.factorisation is None:
            gradients = per_example_gradients(self.problem, rows, cotangents, None if names is None else list(names))
        else:
            factorisation = self.factorisation if names is None else self.factorisation.restricted(names)
            gradients = layer_gradients(self.problem, rows, factorisation, cotangents)
        return gradients if self.coordinates is None else self.coordinates(gradients)

    def blocks(
        self,
        rows: Rows,
        cotangents: Cotangents = of_loss,
        at_most: int | None = None,
        names: Collection[str] | None = None,
        most_bytes: int | None = None,
    ) -> Iterator[Gradients]:
        """Gradients as `__call__` gives them, block by block, each of as many rows as fit into memory.

        Args:
            rows: the examples.
            cotangents: of the scalars that are differentiated, the loss by default.
            at_most: number of gradients in a block at the most.
            names: see `__call__`.
            most_bytes: bound on the memory of one block; None for `block_bytes`.

        Returns:
            The blocks, which are made when they are asked for.
        """
        scalars = self.scalars(cotangents, rows)
        block_rows = self.block_rows if most_bytes is None else max(1, most_bytes // self.row_bytes)
        for block in row_blocks(rows, block_rows, scalars, at_most):
            yield self(block, cotangents, names)

    def joined_blocks(
        self, rows: Rows, cotangents: Cotangents, most_bytes: int, at_most: int | None = None
    ) -> Iterator[Gradients]:
        """Blocks as `blocks` gives them, in factors as many as one as fit into memory: for what is dear for each block.

        To make a block takes many times what it holds then.

        Args:
            rows: the examples.
            cotangents: of the scalars that are differentiated.
            most_bytes: that a block holds.
            at_most: number of gradients in a block at the most.

        Returns:
            The blocks, which are made when they are asked for.
        """
        if not self.factored:
            return self.blocks(rows, cotangents, at_most, most_bytes=most_bytes)
        return joined_blocks(self.blocks(rows, cotangents, at_most), most_bytes, at_most or math.inf)

    def gradient_bytes(self, rows: Rows, cotangents: Cotangents = of_loss) -> list[tuple[tuple[str, ...], int]]:
        """Bytes that one gradient takes, layer by layer, on average.

        Args:
            rows: the examples, of which some are looked at.
            cotangents: of the scalars that are differentiated, the loss by default.

        Returns:
            Names of a layer's parameters in θ and the bytes; parameters that are in no factors are each by itself.
        """
        theta = self.problem.parameters
        if self.factorisation is None:
            return [((name,), parameter.nbytes) for name, parameter in theta.items()]
        few = rows.keep(slice(None, None, -(-len(rows) // 4)))  # of all lengths
        layers = replace(self.factorisation, others=())
        parts = layer_gradients(self.problem, few, layers, cotangents).parts
        sizes = [(part.names, -(-part.held_bytes // len(part))) for part in parts]
        return sizes + [((name,), theta[name].nbytes) for name in self.factorisation.others]

    @torch.no_grad()
    def scalars(self, cotangents: Cotangents, rows: Rows | None = None) -> int:
        """Gradients for each row.

        Args:
            cotangents: of the scalars that are differentiated.
            rows: the examples; None for the training rows.
        """
        problem, row = self.problem, (self.problem.train if rows is None else rows).keep(slice(0, 1))
        outputs = problem.outputs(problem.parameters, row.inputs)
        return cotangents(problem.objective, outputs, row.targets).shape[-1]


def row_blocks(rows: Rows, block_rows: int, scalars: int = 1, at_most: int | None = None) -> Iterator[Rows]:
    """Rows in blocks of as many as fit into memory; of sequences more, the shorter they are.

    Args:
        rows: the examples.
        block_rows: number of rows that fit, a sequence as long as all are padded to, if each has one gradient.
        scalars: gradients that each has.
        at_most: number of gradients in a block at the most.

    Returns:
        Rows after rows.
    """
    start = 0
    while start < len(rows):
        fit = _rows_that_fit(rows, start, block_rows)
        size = max(1, min(fit, at_most or fit) // scalars)
        yield rows.keep(slice(start, start + size))
        start += size


def _rows_that_fit(rows: Rows, start: int, block_rows: int) -> int:
    """How many rows from one on fit into a block."""
    if rows.lengths is None:
        return block_rows
    tensors = [rows.inputs] if isinstance(rows.inputs, Tensor) else list(rows.inputs.values())
    places = max(tensor.shape[1] for tensor in tensors if tensor.dim() > 1)
    fit = block_rows
    for _ in range(2):  # as many as would fit if all were as long as the longest of those
        fit = block_rows * places // max(1, int(rows.lengths[start : start + fit].max()))
    return fit


def factorisation_for(problem: Problem) -> Factorisation | None:
    """How the network's gradients at the first two rows can be taken apart, or None where they can't.

    Args:
        problem: network and training rows.
    """
    few = problem.train.keep(slice(0, 2))
    factorisation = factorisation_of(problem.network, few.inputs)
    if factorisation is None or not factorisation.layers:
        return factorisation
    try:
        passes = layer_passes(problem, few, factorisation.layers, in_numbers=True)
    except FactorsDiffer as reason:  # the forms are not mixed yet: nothing has been computed
        warn_of_dense_gradients(problem.network, reason)
        return None
    return replace(factorisation, vmapped=vmap_takes(problem, few, passes))


def mean_squares(problem: Problem, blocks: Iterable[Gradients]) -> dict[str, float]:
    """Mean over training rows and entries of the squared gradient, by parameter tensor.

    With `of_curvature` it is the mean eigenvalue of the Gauss–Newton matrix's block for each tensor.

    Args:
        problem: with the training rows.
        blocks: of the gradients at all of them.

    Returns:
        By name, in squared units of the gradient.
    """
    totals = dict.fromkeys(problem.parameters, 0.0)
    for block in blocks:
        for name, squares in block.squares().items():
            totals[name] += float(squares.sum())
    return {name: total / (len(problem.train) * problem.parameters[name].numel()) for name, total in totals.items()}


def mean_square(source: GradientSource, cotangents: Cotangents = of_fisher) -> float:
    """Mean over training rows and all parameters of the squared gradient, in the coordinates of the source.

    Args:
        source: of the gradients.
        cotangents: of the scalars that are differentiated, those of the empirical Fisher matrix by default.

    Returns:
        In squared units of the gradient.
    """
    problem, total = source.problem, 0.0
    for block in source.blocks(problem.train, cotangents):
        total += sum(float(squares.sum()) for squares in block.squares().values())
    return total / (len(problem.train) * problem.size)
