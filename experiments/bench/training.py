"""Further training: all runs of a seed in lockstep, against a loop over single runs with a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from omegaconf import DictConfig

from experiments import settings
from experiments.bench.timing import Line, measured, seconds, twins
from experiments.question import Question
from fimo.further_training.module import FurtherTraining
from fimo.further_training.plan import Plan
from fimo.further_training.sweep import further_train
from fimo.problem import Problem
from fimo.randomness import seed_of

# By experiment: overrides, epochs, runs of the loop that is timed (a loop's time for a run doesn't depend on how many
# there are).
SIZES: dict[str, tuple[tuple[str, ...], int, int]] = {
    "energy": ((), 10, 5),
    "folktables": (("data.train_rows=2560",), 1, 3),
    "digits": ((), 1, 2),
    "reviews": ((), 1, 2),
}


def further_training(composed: Callable[..., DictConfig], threads: tuple[int, ...] = (1, 2)) -> Iterator[Line]:
    """A line for each network and number of threads."""
    for experiment, (overrides, epochs, loops) in SIZES.items():
        cfg = composed(f"experiment={experiment}", "final.epochs=1", *overrides)
        problem, plan = Question(cfg).problem, replace(settings.plan(cfg), epochs=epochs)
        for number in threads:
            torch.set_num_threads(number)
            yield _line(experiment, problem, plan, loops)


def _line(experiment: str, problem: Problem, plan: Plan, loops: int) -> Line:
    runs, steps = 1 + len(problem.left_out), plan.epochs * plan.steps_per_epoch(problem)
    size = f"{experiment}: {runs} runs, {steps} steps of {plan.batch_size} rows, {plan.leave_out}, float32"
    loop = partial(_loop, problem, plan, loops)
    line = measured("further training", size, partial(lockstep, problem, plan), loop, rounds=5)
    if problem.train.lengths is not None:
        tokens = int(problem.train.lengths.sum()) * plan.epochs * runs  # of the batches
        line["rate"] = f"{tokens / line['seconds']:.3g} tokens/s"
    return line


def lockstep(problem: Problem, plan: Plan, seeds: int = 1) -> None:
    """All runs of so many seeds."""
    list(further_train(problem, plan, list(range(seeds)), lambda seed: True))


def _loop(problem: Problem, plan: Plan, loops: int) -> float:
    """Seconds of all runs one after another, from a few of them."""
    draw = (lambda *step: torch.manual_seed(seed_of(0, *step))) if FurtherTraining(problem, plan, [0]).random else None
    options = {"clip": plan.clip, "evaluated": plan.evaluated(problem), "draw": draw}
    naive, settled = twins("naive"), (plan.epochs, plan.batch_size, plan.leave_out, 0)

    def runs() -> None:
        for left_out in problem.left_out[:loops].tolist():
            naive.further_training(problem, plan.optimizer, *settled, left_out, **options)

    return seconds(runs) / loops * (1 + len(problem.left_out))
