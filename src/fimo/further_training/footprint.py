"""The memory that runs of further training take."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fimo.models.stored_outputs import stored_bytes
from fimo.problem import Problem


def state_bytes(problem: Problem, dtype: torch.dtype) -> int:
    """Bytes that the state of one run takes: four copies of the parameters (with gradient and optimiser state).

    Args:
        problem: whose parameters they are.
        dtype: of the parameters in further training.

    Returns:
        Bytes.
    """
    return 4 * problem.size * dtype.itemsize


def run_bytes(problem: Problem, batch_size: int, dtype: torch.dtype) -> int:
    """Bytes that one run takes in a step: its state, and twice its activations (forward and backward).

    Args:
        problem: whose network is run; one row goes through it to count the activations.
        batch_size: rows in a batch.
        dtype: of parameters and activations.

    Returns:
        Bytes.
    """
    activations = 0

    def count(module: nn.Module, args: object, output: object) -> None:
        nonlocal activations
        if isinstance(output, Tensor) and not list(module.children()):
            activations += output.numel()

    hooks = [module.register_forward_hook(count) for module in problem.network.modules()]
    try:
        with torch.no_grad():
            problem.network(problem.train.take(slice(0, 1), problem.train.longest(slice(None)))[0])
    finally:
        for hook in hooks:
            hook.remove()
    rows = batch_size * stored_bytes(problem.train.inputs)  # every run has its own
    return state_bytes(problem, dtype) + 2 * batch_size * activations * dtype.itemsize + rows
