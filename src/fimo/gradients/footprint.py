"""Footprint of a problem's network: the parameters that its outputs depend on, the memory that a row takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fimo.problem import Problem
from fimo.rows import map_inputs


def used_parameters(problem: Problem) -> dict[str, nn.Parameter]:
    """The parameters in θ that the outputs depend on, by name."""
    parameters = problem.theta
    with torch.enable_grad():
        outputs = problem.network(problem.train[slice(0, 2)][0])
    gradients = torch.autograd.grad(outputs.sum(), list(parameters.values()), allow_unused=True)
    pairs = zip(parameters.items(), gradients, strict=True)
    return {name: parameter for (name, parameter), gradient in pairs if gradient is not None}


def blocks_that_fit(problem: Problem, block_bytes: int) -> Sequence[Tensor]:
    """Positions of all training rows in blocks that a pass and its backward pass have memory for.

    Args:
        problem: its training rows; sequences are taken by their lengths, so that blocks need little padding.
        block_bytes: bound on the memory of a block.

    Returns:
        `[row]` for each block.
    """
    return problem.train.by_length().split(max(1, block_bytes // activation_bytes(problem)))


def in_order_of_rows(parts: Sequence[Tensor], blocks: Sequence[Tensor]) -> Tensor:
    """What was made block by block, in the order of the training rows.

    Args:
        parts: `[row, …]` for each block.
        blocks: see `blocks_that_fit`.
    """
    return torch.cat(list(parts))[torch.cat(list(blocks)).argsort()]


def activation_bytes(problem: Problem) -> int:
    """Bytes that one more row keeps for the backward pass, a text padded as all are."""
    return max(1, _saved_bytes(problem, 2) - _saved_bytes(problem, 1))


def _saved_bytes(problem: Problem, rows: int) -> int:
    """Bytes that the forward pass of some rows keeps for the backward pass."""
    sizes: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        outputs = problem.network(map_inputs(lambda tensor: tensor[:rows], problem.train.inputs))
        outputs.sum()
    # Those of a language model are most of it: themselves, their cotangents, and what a softmax of them takes.
    return sum(sizes.values()) + (3 * outputs.nbytes if outputs.dim() > 2 else 0)
