"""The cheapest right way to a problem's per-example gradients, and a few means over its training rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch

from fimo.gradients.base import Gradients
from fimo.gradients.cotangents import Cotangents, of_loss
from fimo.gradients.dense import per_example_gradients
from fimo.gradients.factored import Factorisation, factorisation_of, layer_gradients
from fimo.gradients.footprint import activation_bytes
from fimo.memory import BLOCK_BYTES
from fimo.problem import Problem
from fimo.rows import Rows


class GradientSource:
    """Gradients as factors of each layer where most parameters are in such layers, as plain matrices otherwise.

    The structure is read off the modules; a network that uses a layer's weight behind the module's back would pass
    that look, so both ways are compared on a few rows before the short one is taken.

    Args:
        problem: the question.
        factored: False for plain matrices in any case.
        block_bytes: bound on the memory of one block of gradients.
    """

    def __init__(self, problem: Problem, factored: bool = True, block_bytes: int = BLOCK_BYTES) -> None:
        self.problem = problem
        self.structure = factors(problem) if factored else None
        self.row_bytes = activation_bytes(problem)  # while a row's gradient is made
        if self.structure is None:
            self.row_bytes += problem.size * problem.dtype.itemsize
        self.block_rows = max(1, block_bytes // self.row_bytes)

    @property
    def factored(self) -> bool:
        """Whether gradients come in factors."""
        return self.structure is not None

    @cached_property
    def lambda_0(self) -> float:
        """The mean over training rows and parameters of the squared gradient: the paper's unit of damping."""
        return mean_square(self)

    def __call__(self, rows: Rows, cotangents: Cotangents = of_loss) -> Gradients:
        """Gradients of the loss, or of other scalars, at all `rows`; see `per_example_gradients`."""
        if self.structure is None:
            return per_example_gradients(self.problem, rows, cotangents)
        return layer_gradients(self.problem, rows, self.structure, cotangents)

    def blocks(self, rows: Rows, cotangents: Cotangents = of_loss, at_most: int | None = None) -> Iterator[Gradients]:
        """The same, as many rows at a time as fit, or so many gradients at most."""
        size = max(1, min(self.block_rows, at_most or self.block_rows) // self.scalars(cotangents))
        for start in range(0, len(rows), size):
            yield self(rows.keep(slice(start, start + size)), cotangents)

    @torch.no_grad()
    def scalars(self, cotangents: Cotangents) -> int:
        """Gradients for each row."""
        problem, row = self.problem, self.problem.train.keep(slice(0, 1))
        outputs = problem.outputs(problem.parameters, row.inputs)
        return cotangents(problem.objective, outputs, row.targets).shape[-1]


def factors(problem: Problem) -> Factorisation | None:
    """How `layer_gradients` has to take the problem's network apart, or None where it can't."""
    few = problem.train.keep(slice(0, 2))
    structure = factorisation_of(problem.network, few.inputs)
    if structure is None:
        return None
    long = per_example_gradients(problem, few)
    short, expected = layer_gradients(problem, few, structure).inner, long.inner(long)
    largest = long.norms()[:, None] * long.norms()
    found = short(layer_gradients(problem, few, structure))
    return structure if bool(((found - expected).abs() <= 1e-4 * largest).all()) else None


def mean_squares(source: GradientSource, cotangents: Cotangents = of_loss) -> dict[str, float]:
    """Mean over training rows and entries of the squared gradient, by parameter tensor.

    With `of_curvature` it is the mean eigenvalue of the Gauss–Newton matrix's block for each tensor.
    """
    problem, totals = source.problem, dict.fromkeys(source.problem.parameters, 0.0)
    for block in source.blocks(problem.train, cotangents):
        for name, squares in block.squares().items():
            totals[name] += float(squares.sum())
    return {name: total / (len(problem.train) * problem.parameters[name].numel()) for name, total in totals.items()}


def mean_square(source: GradientSource, cotangents: Cotangents = of_loss) -> float:
    """Mean over training rows and all parameters of the squared gradient."""
    parameters, means = source.problem.parameters, mean_squares(source, cotangents)
    return sum(mean * parameters[name].numel() for name, mean in means.items()) / source.problem.size
