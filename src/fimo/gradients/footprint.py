"""What a problem's network touches: the parameters it uses, the memory that a row takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fimo.problem import Problem
from fimo.rows import map_inputs


def used_parameters(problem: Problem) -> dict[str, nn.Parameter]:
    """The parameters that the outputs depend on, by name."""
    parameters = dict(problem.network.named_parameters())
    with torch.enable_grad():
        outputs = problem.network(problem.train[slice(0, 2)][0])
    found = torch.autograd.grad(outputs.sum(), list(parameters.values()), allow_unused=True)
    return {name: parameter for (name, parameter), g in zip(parameters.items(), found, strict=True) if g is not None}


def activation_bytes(problem: Problem) -> int:
    """Memory that one row more keeps for the backward pass, a text padded as all are."""
    return max(1, _kept_bytes(problem, 2) - _kept_bytes(problem, 1))


def _kept_bytes(problem: Problem, rows: int) -> int:
    """What so many rows' forward pass keeps."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        problem.network(map_inputs(lambda tensor: tensor[:rows], problem.train.inputs)).sum()
    return sum(kept.values())
