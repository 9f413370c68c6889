"""The memory that runs of further training take, and so how many are trained together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fimo.memory import CPU_CHUNK_BYTES, LARGE_CONVOLUTION_BYTES, free_memory
from fimo.models.stored_outputs import stored_bytes
from fimo.problem import Problem

if TYPE_CHECKING:
    from fimo.further_training.settings import FurtherTraining


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
    activations = sum(_outputs(problem, lambda module: not list(module.children())))
    rows = batch_size * stored_bytes(problem.train.inputs)  # every run has its own
    return state_bytes(problem, dtype) + 2 * batch_size * activations * dtype.itemsize + rows


def largest_convolution_bytes(problem: Problem, dtype: torch.dtype) -> int:
    """Bytes that the largest output of a two-dimensional convolution takes for one row; 0 where there is none.

    Args:
        problem: whose network is run, with one row.
        dtype: of the outputs.
    """
    sizes = _outputs(problem, lambda module: isinstance(module, nn.Conv2d))
    return max(sizes, default=0) * dtype.itemsize


def _outputs(problem: Problem, counts: Callable[[nn.Module], bool]) -> list[int]:
    """Numbers that modules give for one row, call after call."""
    sizes: list[int] = []

    def count(module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel())

    hooks = [module.register_forward_hook(count) for module in problem.network.modules() if counts(module)]
    if not hooks:
        return []
    try:
        with torch.no_grad():
            problem.network(problem.train.take(slice(0, 1), problem.train.longest(slice(None)))[0])
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def runs_per_chunk(training: FurtherTraining, problem: Problem, runs: int) -> int:
    """Runs, or tangents, that take their steps together: `runs_at_once`, or as many as fit into memory.

    That is `CPU_CHUNK_BYTES`, or half of what is free on a GPU, and one where runs are not stacked. On a CPU it depends
    on sizes alone, so a repeated run rounds as the first one did.

    Args:
        training: what further training is.
        problem: on the device of the training.
        runs: how many there are.

    Returns:
        A number of runs of at least 1.
    """
    if training.runs_at_once is not None:
        return training.runs_at_once
    if not (training.tangents or are_stacked(training, problem)):
        return 1
    budget = CPU_CHUNK_BYTES if problem.device.type == "cpu" else free_memory(problem.device) // 2
    more = problem.left_out.largest - 1 if training.leave_out == "every_step" else 0  # rows beside those of a batch
    return max(1, min(runs, budget // run_bytes(problem, training.batch_size + more, training.dtype)))


def are_stacked(training: FurtherTraining, problem: Problem) -> bool:
    """Whether runs are trained as stacks, and not one after another.

    Stacked two-dimensional convolutions are grouped ones, for which a CPU takes up to twice the time, unless they are
    so small that each call costs more than what it computes (measured, docs/performance.md).

    Args:
        training: what further training is.
        problem: on the device of the training.
    """
    if training.runs_at_once is not None or problem.device.type != "cpu":
        return True
    return training.batch_size * largest_convolution_bytes(problem, training.dtype) < LARGE_CONVOLUTION_BYTES


def seeds_per_ensemble(training: FurtherTraining, problem: Problem, runs: int) -> int:
    """Seeds that one ensemble can hold.

    One on a CPU, where more bring nothing; on a GPU as many as fit with parameters and optimiser state into half of
    the free memory (the other half is for the chunk that takes its step).

    Args:
        training: what further training is.
        problem: on the device of the training.
        runs: of each seed.

    Returns:
        A number of seeds of at least 1.
    """
    if problem.device.type == "cpu":
        return 1
    return max(1, free_memory(problem.device) // 2 // (runs * state_bytes(problem, training.dtype)))
