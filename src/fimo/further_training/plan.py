"""What further training is, apart from its seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.further_training.ensemble import OptimizerFactory
from fimo.memory import CPU_CHUNK_BYTES, free_memory
from fimo.problem import Problem


@dataclass(frozen=True)
class Plan:
    """The further training of every run.

    Attributes:
        optimizer: makes the (elementwise) optimiser of a list of parameters.
        epochs: amount of further training.
        batch_size: rows in a batch.
        leave_out: `drop`, `mask` or `every_step` (see `leave_out.py`).
        evaluate_every: evaluate after each epoch (None), after steps k, 2k, … and the last (an int k), after steps
            f, f + k, … and the last (`{"first": f, "every": k}`, training no further than `"last"` where that is
            given), or after the listed steps.
        clip: bound on the norm of each run's gradient, or none.
        dtype: of parameters and rows.
        runs_at_once: runs in a chunk of the ensemble; None chooses by the size of the network.
        autocast: dtype of the matrix products in training, or that of the parameters.
        batch_norm: `frozen`, batch normalisation keeps the final model's statistics; or `updated`, it takes those of
            the batch, and every run updates its own and is evaluated with them. No matter for networks without it.
        tangents: in place of runs that leave examples out, take the derivative of the run on all of them (see
            `tangents.py`).

    Raises:
        UserError: for updated statistics with any way to leave out but `drop`; for tangents with a way but
            `every_step`, with updated statistics or with autocast.
    """

    optimizer: OptimizerFactory
    epochs: int
    batch_size: int
    leave_out: str = "every_step"
    evaluate_every: int | Sequence[int] | Mapping[str, int] | None = None
    clip: float | None = None
    dtype: torch.dtype = torch.float32
    runs_at_once: int | None = None
    batch_norm: str = "frozen"
    autocast: torch.dtype | None = None
    tangents: bool = False

    def __post_init__(self) -> None:
        if self.tangents:
            self._check_tangents()
        if self.batch_norm == "updated" and self.leave_out != "drop":
            why = {
                "mask": "the example stays in its batch and would enter the statistics",
                "every_step": "the example has no batch of its own",
            }
            raise UserError(
                f"further.batch_norm=updated needs further.leave_out=drop, found {self.leave_out!r}, where "
                f"{why[self.leave_out]}."
            )

    def _check_tangents(self) -> None:
        for key, found, needed, why in (
            ("leave_out", self.leave_out, "every_step", "the weight that it differentiates by acts in all of them"),
            ("batch_norm", self.batch_norm, "frozen", "it has no derivative of the statistics of batches"),
            ("autocast", self.autocast, None, "a derivative of rounded products is no better than they are"),
        ):
            if found != needed:
                raise UserError(
                    f"further.gold=tangent needs further.{key}={needed or 'null'}, found {found}, since {why}."
                )

    def steps_per_epoch(self, problem: Problem) -> int:
        """Batches in an epoch of the full run."""
        return -(-len(problem.train) // self.batch_size)

    def evaluated(self, problem: Problem) -> list[int]:
        """The steps after which the test losses are taken, ascending.

        Raises:
            UserError: where a listed step is not among the steps of the further training.
        """
        per_epoch = self.steps_per_epoch(problem)
        last = self.epochs * per_epoch
        if isinstance(self.evaluate_every, Mapping):
            last = min(last, self.evaluate_every.get("last", last))
            return sorted({*range(self.evaluate_every["first"], last + 1, self.evaluate_every["every"]), last})
        if self.evaluate_every is None or isinstance(self.evaluate_every, int):
            every = self.evaluate_every or per_epoch
            return sorted({*range(every, last + 1, every), last})
        outside = [step for step in self.evaluate_every if not 1 <= step <= last]
        if outside or not self.evaluate_every:
            raise UserError(
                f"further.evaluate_every must list steps from 1 to {last} ({self.epochs} epochs of {per_epoch} "
                f"steps), found {outside or 'an empty list'}: change it or further.epochs."
            )
        return sorted(set(self.evaluate_every))

    def smallest_batch(self, problem: Problem) -> int:
        """Rows in the smallest batch that any run sees; with `drop` a left-out run has one row less in an epoch."""
        rows = [len(problem.train), len(problem.train) - (self.leave_out == "drop")]
        return min(min(n, n % self.batch_size or self.batch_size) for n in rows)

    def width(self, problem: Problem, runs: int) -> int:
        """Runs in a chunk: `runs_at_once`, or as many of the `runs` as `CPU_CHUNK_BYTES` or half of a GPU has room for.

        A tangent counts as a run. It depends on sizes alone on a CPU, so a repeated run rounds as the first one did.
        """
        if self.runs_at_once is not None:
            return self.runs_at_once
        budget = CPU_CHUNK_BYTES if problem.device.type == "cpu" else free_memory(problem.device) // 2
        return max(1, min(runs, budget // _bytes_per_run(problem, self.batch_size, self.dtype)))

    def seeds_together(self, problem: Problem, runs: int) -> int:
        """Seeds, of so many runs each, that one ensemble can hold.

        One on a CPU, where it brings nothing; on a GPU as many as fit with parameters and optimiser state into half of
        the free memory (the other half is for the chunk that takes its step).
        """
        if problem.device.type == "cpu":
            return 1
        return max(1, free_memory(problem.device) // 2 // (runs * _state_bytes(problem, self.dtype)))


def _state_bytes(problem: Problem, dtype: torch.dtype) -> int:
    """Of one run: four copies of the parameters (gradient and optimiser state)."""
    return 4 * problem.size * dtype.itemsize


def _bytes_per_run(problem: Problem, batch_size: int, dtype: torch.dtype) -> int:
    """The state of a run, and twice its activations (forward and backward)."""
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
    return _state_bytes(problem, dtype) + 2 * batch_size * activations * dtype.itemsize
