"""Further training: all runs of a seed in lockstep, against a loop over single runs with a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import torch
from omegaconf import DictConfig

from benchmarks.timing import Line, machine, measured, seconds
from fimo.app import settings
from fimo.further_training.module import FurtherTraining
from fimo.further_training.plan import Plan
from fimo.further_training.sweep import further_train
from fimo.memory import peak_memory
from fimo.pipeline.run import Question
from fimo.problem import Problem
from fimo.randomness import seed_of
from fimo.reference import gradients as reference

# Measured whole, on a GPU.
WHOLE = ("energy", "folktables")
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
        if threads[-1] > 1:
            yield _in_processes(cfg, problem, plan, loops, threads[-1])


def whole(composed: Callable[..., DictConfig], *overrides: str) -> Iterator[Line]:
    """A line for all of the paper's further training of a tabular data set, on a GPU unless told otherwise.

    Raises:
        UserError: where there is no GPU.
    """
    for experiment in WHOLE:
        cfg = composed(f"experiment={experiment}", "size=paper", "device=cuda", "final.epochs=1", *overrides)
        device, plan = settings.device(cfg), settings.plan(cfg)
        problem = Question(cfg).problem.to(device)
        runs, seeds = 1 + len(problem.left_out), len(settings.seeds(cfg))
        together = min(seeds, plan.seeds_together(problem, runs))
        lockstep(problem, replace(plan, epochs=1), together, together)  # to warm up
        with peak_memory(device) as peak:
            spent = seconds(partial(lockstep, problem, plan, seeds, together), device)
        size = (
            f"{experiment}: {seeds} seeds (at once: {together}) × {runs} runs × {plan.epochs} epochs, {plan.leave_out}"
        )
        yield {"what": "further training, whole", "size": size, "seconds": round(spent, 1)} | {
            "peak_MiB": round(peak.bytes / 2**20),
            **machine(device),
        }


def _line(experiment: str, problem: Problem, plan: Plan, loops: int) -> Line:
    loop = partial(_best_loop, problem, plan, loops)
    size = _size(experiment, problem, plan)
    line = measured("further training", size, partial(lockstep, problem, plan), loop, rounds=5)
    if problem.train.lengths is not None:
        tokens = int(problem.train.lengths.sum()) * plan.epochs * (1 + len(problem.left_out))  # of the batches
        line["rate"] = f"{tokens / line['seconds']:.3g} tokens/s"
    return line


def _in_processes(cfg: DictConfig, problem: Problem, plan: Plan, loops: int, count: int) -> Line:
    """One seed in each of some processes with one thread, all at the same time; they are there already."""
    size = f"{_size(cfg.name, problem, plan)}, {count} seeds in as many processes"
    seed = partial(_seed, DictConfig(settings.plain(cfg)), plan.epochs)

    def loop() -> float:
        return count * _best_loop(problem, plan, loops)

    with ProcessPoolExecutor(count, get_context("spawn")) as pool:

        def work() -> None:
            list(pool.map(seed, range(count)))

        line = measured("further training", size, work, loop, limit=False, rounds=5)
    del line["peak_MiB"]  # of this process alone
    return line


def _seed(cfg: DictConfig, epochs: int, number: int) -> None:
    lockstep(*_further(cfg, epochs))


@cache
def _further(cfg: DictConfig, epochs: int) -> tuple[Problem, Plan]:
    """What a process trains, made for the first seed that it gets (which is not measured)."""
    torch.set_num_threads(1)
    return Question(cfg).problem, replace(settings.plan(cfg), epochs=epochs)


def _size(experiment: str, problem: Problem, plan: Plan) -> str:
    runs, steps = 1 + len(problem.left_out), plan.epochs * plan.steps_per_epoch(problem)
    return f"{experiment}: {runs} runs, {steps} steps of {plan.batch_size} rows, {plan.leave_out}, float32"


def lockstep(problem: Problem, plan: Plan, seeds: int = 1, together: int = 1) -> None:
    """All runs of so many seeds, some seeds together."""
    for _ in further_train(problem, plan, range(seeds), lambda seed: True, together):
        pass  # a seed's losses are not kept


def _best_loop(problem: Problem, plan: Plan, loops: int) -> float:
    """Seconds of the loop with as many threads as ours has, or with one where it is quicker so."""
    threads, spent = torch.get_num_threads(), []
    for number in {1, threads}:
        torch.set_num_threads(number)
        spent.append(_loop(problem, plan, loops))
    torch.set_num_threads(threads)
    return min(spent)


def _loop(problem: Problem, plan: Plan, loops: int) -> float:
    """Seconds of all runs one after another, from a few of them."""
    draw = (lambda *step: torch.manual_seed(seed_of(0, *step))) if FurtherTraining(problem, plan, [0]).random else None
    options: dict[str, Any] = {"clip": plan.clip, "evaluated": plan.evaluated(problem), "draw": draw}
    settled = (plan.epochs, plan.batch_size, plan.leave_out, 0)

    def runs() -> None:
        for left_out in problem.left_out[:loops].tolist():
            reference.further_training(problem, plan.optimizer, *settled, left_out, **options)

    return seconds(runs) / loops * (1 + len(problem.left_out))
