"""Per-example gradients of any network, as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from fimo.gradients.base import Coefficients, ExplicitGradients, coefficients_of
from fimo.gradients.cotangents import Cotangents, loss_of, of_loss
from fimo.problem import Parameters, Problem
from fimo.row_weights import by_row
from fimo.rows import Inputs, Rows, map_inputs
from fimo.vmapping import vmap_or_loop


@dataclass(frozen=True)
class DenseGradients(ExplicitGradients):
    """Gradients as they are: a tensor `[row, *parameter shape]` for each parameter.

    Attributes:
        tensors: by the parameter's name.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameter tensors."""
        return tuple(self.tensors)

    @property
    def held_bytes(self) -> int:
        """Memory that the rows hold, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def size(self) -> int:
        """Entries of one gradient."""
        return sum(tensor[0].numel() for tensor in self.tensors.values())

    @property
    def pair_operations(self) -> int:
        """As many as there are entries."""
        return self.size

    def written(self) -> Iterator[dict[str, Tensor]]:
        """All rows at once, which are held as they are."""
        yield self.matrices()

    def inner_per_parameter(self, other: DenseGradients) -> dict[str, Tensor]:
        """Inner products over each parameter tensor, `[row of self, row of other]`."""
        theirs = other.matrices()
        return {name: matrix @ theirs[name].T for name, matrix in self.matrices().items()}

    def inner(self, other: DenseGradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of other]`."""
        theirs, total = other.matrices(), None
        for name, matrix in self.matrices().items():  # in place: a Gram can be as large as memory allows
            total = matrix @ theirs[name].T if total is None else total.addmm_(matrix, theirs[name].T)
        assert total is not None
        return total

    def squares(self) -> dict[str, Tensor]:
        """Squared norms over each parameter tensor, `[row]`."""
        return {name: matrix.square().sum(1) for name, matrix in self.matrices().items()}

    def row_sums(self) -> dict[str, Tensor]:
        """Sum over all rows, by name."""
        return {name: tensor.sum(0) for name, tensor in self.tensors.items()}

    def row_square_sums(self) -> dict[str, Tensor]:
        """Sum over all rows of the squared entries, by name."""
        return {name: tensor.square().sum(0) for name, tensor in self.tensors.items()}

    def scaled(self, factors: Tensor) -> DenseGradients:
        """Each gradient times its factor, `factors [row]`."""
        return DenseGradients({name: tensor * by_row(factors, tensor) for name, tensor in self.tensors.items()})

    def joined(self, others: Sequence[DenseGradients]) -> Self:
        """The rows of these gradients, then those of `others`."""
        if not others:
            return self
        return type(self)(
            {name: torch.cat([tensor, *(o.tensors[name] for o in others)]) for name, tensor in self.tensors.items()}
        )

    def linear_combination(self, coefficients: Coefficients) -> DenseGradients:
        """Linear combinations of the rows, coefficients `[new row, row]`."""
        return DenseGradients(
            {
                name: torch.tensordot(coefficients_of(coefficients, name).to(tensor.dtype), tensor, 1)
                for name, tensor in self.tensors.items()
            }
        )

    def __add__(self, other: DenseGradients) -> DenseGradients:
        """Row by row."""
        return DenseGradients({name: tensor + other.tensors[name] for name, tensor in self.tensors.items()})

    def flat(self) -> Tensor:
        """One row for each gradient, `[row, param]`, parameters in the network's order."""
        return torch.cat(list(self.matrices().values()), dim=1)

    def matrices(self) -> dict[str, Tensor]:
        """`[row, param]` for each parameter tensor."""
        return {name: tensor.reshape(len(tensor), -1) for name, tensor in self.tensors.items()}

    @classmethod
    def of_flat(cls, matrix: Tensor, parameters: Parameters) -> DenseGradients:
        """The inverse of `flat`.

        Args:
            matrix: `[row, param]`.
            parameters: the network's, whose names and shapes the result has.

        Returns:
            A gradient for each row.
        """
        sizes = [parameter.numel() for parameter in parameters.values()]
        parts = zip(parameters.items(), matrix.split(sizes, dim=1), strict=True)
        return cls({name: part.reshape(-1, *parameter.shape) for (name, parameter), part in parts})


def per_example_gradients(
    problem: Problem, rows: Rows, cotangents: Cotangents = of_loss, names: Sequence[str] | None = None
) -> DenseGradients:
    """Gradients at θ_f of the scalars that `cotangents` gives, the network as it is (eval mode).

    Args:
        problem: network and objective.
        rows: the examples.
        cotangents: the loss by default.
        names: of the parameters that are wanted; None for all.

    Returns:
        Row after row; where an example has several scalars they follow each other.
    """
    # Contiguous, as their gradients then are.
    parameters = {name: parameter.contiguous() for name, parameter in problem.parameters.items()}
    wanted = parameters if names is None else {name: parameters[name] for name in names}
    loss = loss_of(cotangents, problem.objective)

    @cache
    @torch.no_grad()
    def vectors() -> Tensor:
        return cotangents(problem.objective, problem.outputs(parameters, rows.inputs), rows.targets)

    def of_loss_alone(inputs: Inputs, target: Tensor, row: Tensor) -> Parameters:
        assert loss is not None
        single, measured = map_inputs(lambda tensor: tensor[None], inputs), loss.loss
        of = grad(lambda some: measured(problem.outputs(parameters | some, single), target[None]).squeeze(0))
        return {name: tensor[None] for name, tensor in of(wanted).items()}

    def pulled_back(inputs: Inputs, cotangent: Tensor, row: Tensor) -> Parameters:
        single = map_inputs(lambda tensor: tensor[None], inputs)
        back = vjp(lambda some: problem.outputs(parameters | some, single).squeeze(0), wanted)[1]
        return vmap(lambda vector: back(vector)[0], in_dims=-1)(cotangent)

    def one_row(inputs: Inputs, part: Tensor, row: Tensor) -> Parameters:
        return _of_one_row(problem, rows, int(row), vectors()[int(row)], list(wanted))

    def valid(tensors: Parameters) -> bool:
        counts = len(rows), 1 if loss is not None else vectors().shape[-1]
        return all(tensor.shape == (*counts, *wanted[name].shape) for name, tensor in tensors.items())

    # Of a loss, in one pass; of other scalars a forward pass says first what is pulled back.
    one, parts = (of_loss_alone, rows.targets) if loss is not None else (pulled_back, vectors())
    each = vmap_or_loop(one, what="per-example gradients", network=problem.network, single=one_row, valid=valid)
    tensors = each(rows.inputs, parts, torch.arange(len(rows), device=parts.device))
    return DenseGradients({name: tensor.flatten(0, 1) for name, tensor in tensors.items()})


def _of_one_row(problem: Problem, rows: Rows, row: int, cotangent: Tensor, names: Sequence[str]) -> Parameters:
    """Gradients of one row's scalars, `[scalar, *parameter shape]`; a sequence is cut to its own length."""
    parameters = problem.parameters
    wanted = {name: parameters[name].clone().requires_grad_() for name in names}
    inputs, _ = rows[slice(row, row + 1)]
    with torch.enable_grad():
        output = problem.outputs(parameters | wanted, inputs).squeeze(0)
    if not output.requires_grad:  # the row takes a way without these parameters
        return {name: tensor.new_zeros(cotangent.shape[-1], *tensor.shape) for name, tensor in wanted.items()}
    options = {"retain_graph": True, "materialize_grads": True}
    vectors = cotangent[: len(output)].unbind(-1)  # outputs of places were cut with them
    gradients = [torch.autograd.grad(output, list(wanted.values()), vector, **options) for vector in vectors]
    return {name: torch.stack(parts) for name, parts in zip(wanted, zip(*gradients, strict=True), strict=True)}
