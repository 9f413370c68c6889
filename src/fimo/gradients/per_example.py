"""Per-example gradients of any network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, vmap

from fimo.problem import Parameters, Problem
from fimo.rows import Inputs, Rows, map_inputs


@dataclass(frozen=True)
class MatrixGradients:
    """Gradients as they are: a tensor `[row, *parameter shape]` for each parameter."""

    blocks: Mapping[str, Tensor]

    def products(self, other: MatrixGradients) -> Tensor:
        """Inner products, `[row of self, row of other]`."""
        return torch.stack(
            [block.flatten(1) @ other.blocks[name].flatten(1).T for name, block in self.blocks.items()]
        ).sum(0)

    def norms(self) -> Tensor:
        """Euclidean norms, `[row]`."""
        return torch.stack([block.flatten(1).square().sum(1) for block in self.blocks.values()]).sum(0).sqrt()

    def scaled(self, factors: Tensor) -> MatrixGradients:
        """Each gradient times its factor, `factors [row]`."""
        return MatrixGradients(
            {name: block * factors.reshape(-1, *[1] * (block.dim() - 1)) for name, block in self.blocks.items()}
        )


def per_example_gradients(problem: Problem, rows: Rows) -> MatrixGradients:
    """Gradients of the loss at θ_f of all `rows`, the network as it is (eval mode)."""

    def loss(parameters: Parameters, inputs: Inputs, target: Tensor) -> Tensor:
        outputs = problem.outputs(parameters, map_inputs(lambda tensor: tensor[None], inputs))
        return problem.objective.loss(outputs, target[None]).squeeze(0)

    return MatrixGradients(vmap(grad(loss), in_dims=(None, 0, 0))(problem.parameters, rows.inputs, rows.targets))
