"""Per-example gradients of any network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vjp, vmap

from fimo.gradients.base import Gradients, Weights, coefficients_of
from fimo.gradients.cotangents import Cotangents, of_loss
from fimo.problem import Parameters, Problem
from fimo.rows import Inputs, Rows, map_inputs


@dataclass(frozen=True)
class DenseGradients(Gradients):
    """Gradients as they are: a tensor `[row, *parameter shape]` for each parameter."""

    tensors: Mapping[str, Tensor]

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

    def scaled(self, factors: Tensor) -> DenseGradients:
        """Each gradient times its factor, `factors [row]`."""
        return DenseGradients(
            {name: block * factors.reshape(-1, *[1] * (block.dim() - 1)) for name, block in self.tensors.items()}
        )

    def linear_combination(self, weights: Weights) -> DenseGradients:
        """Linear combinations of the rows, weights `[new row, row]`."""
        return DenseGradients(
            {
                name: torch.tensordot(coefficients_of(weights, name).to(block.dtype), block, 1)
                for name, block in self.tensors.items()
            }
        )

    def __add__(self, other: DenseGradients) -> DenseGradients:
        """Row by row."""
        return DenseGradients({name: block + other.tensors[name] for name, block in self.tensors.items()})

    def flat(self) -> Tensor:
        """One row for each gradient, `[row, param]`, parameters in the network's order."""
        return torch.cat(list(self.matrices().values()), dim=1)

    def matrices(self) -> dict[str, Tensor]:
        """`[row, param]` for each parameter tensor."""
        return {name: block.reshape(len(block), -1) for name, block in self.tensors.items()}

    @classmethod
    def of_flat(cls, matrix: Tensor, parameters: Parameters) -> DenseGradients:
        """The inverse of `flat`."""
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
    everything = {name: parameter.contiguous() for name, parameter in problem.parameters.items()}
    wanted = everything if names is None else {name: everything[name] for name in names}
    with torch.no_grad():
        chosen = cotangents(problem.objective, problem.outputs(everything, rows.inputs), rows.targets)

    def pulled_back(inputs: Inputs, cotangent: Tensor) -> Parameters:
        single = map_inputs(lambda tensor: tensor[None], inputs)
        back = vjp(lambda some: problem.outputs(everything | some, single).squeeze(0), wanted)[1]
        return vmap(lambda vector: back(vector)[0])(cotangent.T)

    try:
        blocks = vmap(pulled_back)(rows.inputs, chosen)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError):  # vmap has no rule for what the network does, or data decides its way
        return _one_by_one(problem, rows, chosen, list(wanted))
    return DenseGradients({name: block.flatten(0, 1) for name, block in blocks.items()})


def _one_by_one(problem: Problem, rows: Rows, chosen: Tensor, names: Sequence[str]) -> DenseGradients:
    parameters = problem.parameters
    wanted = {name: parameters[name].clone().requires_grad_() for name in names}
    found = []
    for row, cotangent in enumerate(chosen):
        inputs, _ = rows[slice(row, row + 1)]
        with torch.enable_grad():
            output = problem.outputs(parameters | wanted, inputs).squeeze(0)
        for vector in cotangent.T:
            options = {"retain_graph": True, "materialize_grads": True}
            found.append(torch.autograd.grad(output, list(wanted.values()), vector, **options))
    return DenseGradients({name: torch.stack(g) for name, g in zip(wanted, zip(*found, strict=True), strict=True)})
