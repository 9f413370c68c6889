"""What further training is, apart from its seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fimo.errors import UserError
from fimo.further_training.leave_out import SCHEMES
from fimo.further_training.optimizer_factory import BoundOptimizer, OptimizerFactory, bind
from fimo.problem import Problem
from fimo.rows import Rows

# What batch normalisation does with its statistics: it keeps those of the final model, or takes those of each batch.
BATCH_NORM = ("frozen", "updated")


class TrainedOn(Protocol):
    """What has the rows that steps are made of: a problem, or data for which there is no final model yet."""

    @property
    def train(self) -> Rows:
        """All training rows."""
        ...


@dataclass(frozen=True, init=False)
class FurtherTraining:
    """Settings of the further training of every run: which optimizer, how much of it, and how an example is left out.

        FurtherTraining(torch.optim.SGD, lr=0.01, epochs=20, batch_size=32)

    Settings are frozen, equal where they say the same, and can be pickled if the optimizer can.

    Args:
        optimizer: an elementwise torch optimizer class, which needs `lr`; or any function that makes the optimizer of a
            list of parameters, such as a `functools.partial` of a class.
        epochs: amount of further training, in passes over the training rows.
        batch_size: rows in a batch.
        leave_out: `every_step`, `drop` or `mask` (see `fimo.further_training.leave_out`).
        evaluate_every: evaluate after each epoch (None), after steps k, 2k, … and the last (an int k), after steps
            f, f + k, … and the last (`{"first": f, "every": k}`, training no further than `"last"` where that is
            given), or after the listed steps.
        clip: bound on the norm of each run's gradient, or None.
        dtype: of parameters and rows.
        batch_norm: `frozen`, batch normalisation keeps the final model's statistics; or `updated`, it takes those of
            the batch, and every run updates its own and is evaluated with them. No matter for networks without it.
        runs_at_once: runs in a chunk of the ensemble; None chooses by the size of the network.
        autocast: dtype of the matrix products in training, or None for that of the parameters.
        tangents: in place of runs that leave examples out, take the derivative of the run on all of them (see
            `fimo.further_training.tangents`).
        options: what the optimizer takes beside its parameters: `lr`, `momentum`, `weight_decay`, …

    Attributes:
        optimizer: the optimizer with its options, a function of a list of parameters.

    Raises:
        UserError: for a value that no further training can have, options that the optimizer refuses, updated
            statistics with any way to leave out but `drop`, and tangents with a way but `every_step`, with updated
            statistics or with autocast.
    """

    optimizer: BoundOptimizer
    epochs: int
    batch_size: int
    leave_out: str = "every_step"
    evaluate_every: int | Sequence[int] | Mapping[str, int] | None = None
    clip: float | None = None
    dtype: torch.dtype = torch.float32
    batch_norm: str = "frozen"
    runs_at_once: int | None = None
    autocast: torch.dtype | None = None
    tangents: bool = False

    def __init__(
        self,
        optimizer: OptimizerFactory,
        epochs: int,
        batch_size: int,
        leave_out: str = "every_step",
        evaluate_every: int | Sequence[int] | Mapping[str, int] | None = None,
        clip: float | None = None,
        dtype: torch.dtype = torch.float32,
        batch_norm: str = "frozen",
        *,
        runs_at_once: int | None = None,
        autocast: torch.dtype | None = None,
        tangents: bool = False,
        **options: Any,
    ) -> None:
        if isinstance(evaluate_every, Sequence) and not isinstance(evaluate_every, str):
            evaluate_every = tuple(evaluate_every)
        given = {
            "optimizer": bind(optimizer, options),
            "epochs": epochs,
            "batch_size": batch_size,
            "leave_out": leave_out,
            "evaluate_every": evaluate_every,
            "clip": clip,
            "dtype": dtype,
            "batch_norm": batch_norm,
            "runs_at_once": runs_at_once,
            "autocast": autocast,
            "tangents": tangents,
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)  # the settings are frozen from here on
        self._check()

    def _check(self) -> None:
        for name, value, optional in (
            ("epochs", self.epochs, False),
            ("batch_size", self.batch_size, False),
            ("runs_at_once", self.runs_at_once, True),
        ):
            if not (_is_positive_integer(value) or value is None and optional):
                raise UserError(f"{name} of further training must be a whole number of at least 1, found {value!r}.")
        for name, choice, choices in (
            ("leave_out", self.leave_out, tuple(SCHEMES)),
            ("batch_norm", self.batch_norm, BATCH_NORM),
        ):
            if choice not in choices:
                raise UserError(f"{name} of further training must be one of {', '.join(choices)}, found {choice!r}.")
        if self.clip is not None and not (isinstance(self.clip, int | float) and self.clip > 0):
            raise UserError(f"clip of further training must be a number above 0 or None, found {self.clip!r}.")
        if self.dtype not in (torch.float32, torch.float64):
            raise UserError(f"dtype of further training must be torch.float32 or torch.float64, found {self.dtype!r}.")
        self._check_evaluated()
        if self.tangents:
            self._check_tangents()
        if self.batch_norm == "updated" and self.leave_out != "drop":
            why = {
                "mask": "the example stays in its batch and would enter the statistics",
                "every_step": "the example has no batch of its own",
            }
            raise UserError(
                f"batch_norm='updated' needs leave_out='drop' (further.leave_out=drop), found {self.leave_out!r}, "
                f"where {why[self.leave_out]}."
            )

    def _check_evaluated(self) -> None:
        every = self.evaluate_every
        if isinstance(every, Mapping):
            fits = {"first", "every"} <= set(every) <= {"first", "every", "last"}
            fits = fits and all(map(_is_positive_integer, every.values()))
        elif isinstance(every, tuple):
            fits = all(isinstance(step, int) for step in every)
        else:
            fits = every is None or _is_positive_integer(every)
        if not fits:
            raise UserError(
                "evaluate_every of further training must be None, a whole number above 0, a list of them, or "
                f"{{'first': …, 'every': …, 'last': …}}, found {every!r}."
            )

    def _check_tangents(self) -> None:
        for key, value, needed, why in (
            ("leave_out", self.leave_out, "every_step", "the weight that it differentiates by acts in every step"),
            ("batch_norm", self.batch_norm, "frozen", "it has no derivative of the statistics of batches"),
            ("autocast", self.autocast, None, "a derivative of rounded products is no better than they are"),
        ):
            if value != needed:
                raise UserError(
                    f"tangents (further.gold=tangent) need {key}={needed!r} (further.{key}={needed or 'null'}), found "
                    f"{value}, since {why}."
                )

    @property
    def optimizer_name(self) -> str:
        """The name of the optimizer's class, such as `SGD`."""
        return self.optimizer.name

    @property
    def described(self) -> str:
        """Optimizer and batches for people: what a method that follows further training knows, but for its amount."""
        return f"{self.optimizer.described}, batches of {self.batch_size}"

    def make_optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """The optimizer of some parameters, which may be stacked over runs."""
        return self.optimizer(parameters)

    def steps_per_epoch(self, problem: TrainedOn) -> int:
        """Batches in an epoch of the full run."""
        return -(-len(problem.train) // self.batch_size)

    def evaluation_steps(self, problem: TrainedOn) -> list[int]:
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
        """Rows in the smallest batch that any run sees; with `drop` a left-out run has fewer rows in an epoch."""
        sizes = problem.left_out.sizes.unique().tolist() if self.leave_out == "drop" else []
        rows = [len(problem.train) - size for size in (0, *sizes)]
        return min(min(n, n % self.batch_size or self.batch_size) for n in rows)


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
