"""Tensors of many runs as one, each run's piece with its axes in memory as the network has them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fimo.models.chain import chained
from fimo.models.copies import accepted, copied
from fimo.problem import Parameters, Problem
from fimo.row_weights import by_row


def copies(tensors: Parameters, count: int) -> Parameters:
    """Stack each tensor several times.

    Args:
        tensors: by name.
        count: number of runs.

    Returns:
        By name, `[run, *shape]`, each run's piece with its axes in memory as the tensor has them.
    """
    return {name: _copies(tensor, count) for name, tensor in tensors.items()}


def _copies(tensor: Tensor, count: int) -> Tensor:
    order = memory_order(tensor)
    stacked = tensor.permute(order).expand(count, *(tensor.shape[axis] for axis in order))
    back = [order.index(axis) + 1 for axis in range(tensor.dim())]
    return stacked.clone(memory_format=torch.contiguous_format).permute(0, *back)


def channels_last(problem: Problem) -> Problem:
    """A problem whose network has the channels of two-dimensional convolutions last in memory: a CPU is quicker so.

    Args:
        problem: it stays as it is.

    Returns:
        The problem with a copy of its network.
    """
    network = copied(problem.network)
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return replace(problem, network=network)


def in_chains(problem: Problem) -> Problem:
    """A problem whose network writes less to memory in training, where it has that form: see `fimo.models.chain`.

    Args:
        problem: it stays as it is; the layers are its own.
    """
    return replace(problem, network=accepted(chained(problem.network)))


def memory_order(tensor: Tensor) -> list[int]:
    """The order of axes in which a tensor without gaps is contiguous."""
    return sorted(range(tensor.dim()), key=tensor.stride, reverse=True)


def clipped(gradients: tuple[Tensor, ...], bound: float) -> tuple[Tensor, ...]:
    """Scale each run's gradient to a norm of at most `bound`, as torch's `clip_grad_norm_` does for one run.

    Args:
        gradients: of each parameter, `[run, *parameter shape]`.
        bound: on the Euclidean norm over all parameters of a run.

    Returns:
        The scaled gradients, of the same shapes.
    """
    norms = torch.stack([gradient.reshape(len(gradient), -1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    factors = (bound / (norms + 1e-6)).clamp(max=1)
    return tuple(gradient * by_row(factors, gradient) for gradient in gradients)
