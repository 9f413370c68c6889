"""Further training: all runs of a seed in lockstep, against a loop over single runs with a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks.timing import Line, machine, measured, seconds
from fimo.further_training.footprint import seeds_per_ensemble
from fimo.further_training.modes import is_stochastic
from fimo.further_training.seeds import train_seeds
from fimo.further_training.settings import FurtherTraining
from fimo.memory import peak_memory
from fimo.pipeline.run import Run
from fimo.problem import Problem
from fimo.randomness import seed_of
from fimo.reference import further_training as reference

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


def further_training(make_run: Callable[..., Run], threads: tuple[int, ...] = (1, 2)) -> Iterator[Line]:
    """A line for each network and number of threads."""
    for experiment, (overrides, epochs, loops) in SIZES.items():
        run = make_run(f"experiment={experiment}", "final.epochs=1", *overrides)
        problem, training = run.problem, replace(run.training, epochs=epochs)
        for number in threads:
            torch.set_num_threads(number)
            yield _line(experiment, problem, training, loops)
        if threads[-1] > 1:
            yield _in_processes(run, problem, training, loops, threads[-1])


def paper_sizes(make_run: Callable[..., Run], *overrides: str) -> Iterator[Line]:
    """A line for all of the paper's further training of a tabular data set, on a GPU unless told otherwise.

    Raises:
        UserError: where there is no GPU.
    """
    for experiment in WHOLE:
        run = make_run(f"experiment={experiment}", "size=paper", "device=cuda", "final.epochs=1", *overrides)
        device, training = run.execution.device, run.training
        problem = run.problem.to(device)
        runs, seeds = 1 + len(problem.left_out), run.seeds.count
        together = min(seeds, seeds_per_ensemble(training, problem, runs))
        lockstep(problem, replace(training, epochs=1), together, together)  # to warm up
        with peak_memory(device) as peak:
            spent = seconds(partial(lockstep, problem, training, seeds, together), device)
        size = f"{experiment}: {seeds} seeds (at once: {together}) × {runs} runs × {training.epochs} epochs"
        size = f"{size}, {training.leave_out}"
        yield {"what": "further training, whole", "size": size, "seconds": round(spent, 1)} | {
            "peak_MiB": round(peak.bytes / 2**20),
            **machine(device),
        }


def _line(experiment: str, problem: Problem, training: FurtherTraining, loops: int) -> Line:
    loop = partial(_best_loop, problem, training, loops)
    size = _size(experiment, problem, training)
    line = measured("further training", size, partial(lockstep, problem, training), loop, rounds=5)
    if problem.train.lengths is not None:
        tokens = int(problem.train.lengths.sum()) * training.epochs * (1 + len(problem.left_out))  # of the batches
        line["rate"] = f"{tokens / line['seconds']:.3g} tokens/s"
    return line


def _in_processes(run: Run, problem: Problem, training: FurtherTraining, loops: int, count: int) -> Line:
    """One seed in each of some processes with one thread, all at the same time; they are there already."""
    size = f"{_size(run.name, problem, training)}, {count} seeds in as many processes"

    def loop() -> float:
        return count * _best_loop(problem, training, loops)

    given = run.for_worker(), training.epochs
    with ProcessPoolExecutor(count, get_context("spawn"), initializer=_prepare, initargs=given) as pool:

        def work() -> None:
            list(pool.map(_seed, range(count)))

        line = measured("further training", size, work, loop, limit=False, rounds=5)
    del line["peak_MiB"]  # of this process alone
    return line


_prepared: list[tuple[Problem, FurtherTraining]] = []  # what this process trains


def _prepare(run: Run, epochs: int) -> None:
    torch.set_num_threads(1)
    _prepared.append((run.problem, replace(run.training, epochs=epochs)))


def _seed(number: int) -> None:
    lockstep(*_prepared[0])


def _size(experiment: str, problem: Problem, training: FurtherTraining) -> str:
    runs, steps = 1 + len(problem.left_out), training.epochs * training.steps_per_epoch(problem)
    return f"{experiment}: {runs} runs, {steps} steps of {training.batch_size} rows, {training.leave_out}, float32"


def lockstep(problem: Problem, training: FurtherTraining, seeds: int = 1, together: int = 1) -> None:
    """All runs of so many seeds, some seeds together."""
    for _ in train_seeds(problem, training, range(seeds), seeds_at_once=together):
        pass  # a seed's losses are not kept


def _best_loop(problem: Problem, training: FurtherTraining, loops: int) -> float:
    """Seconds of the loop with as many threads as ours has, or with one where it is quicker so."""
    threads, spent = torch.get_num_threads(), []
    for number in {1, threads}:
        torch.set_num_threads(number)
        spent.append(_loop(problem, training, loops))
    torch.set_num_threads(threads)
    return min(spent)


def _loop(problem: Problem, training: FurtherTraining, loops: int) -> float:
    """Seconds of all runs one after another, from a few of them."""
    draw = (lambda *step: torch.manual_seed(seed_of(0, *step))) if is_stochastic(problem) else None
    options: dict[str, Any] = {"clip": training.clip, "evaluated": training.evaluation_steps(problem), "draw": draw}
    settled = (training.epochs, training.batch_size, training.leave_out, 0)

    def runs() -> None:
        for left_out in problem.left_out.lists[:loops]:
            reference.further_training(problem, training.optimizer, *settled, left_out, **options)

    return seconds(runs) / loops * (1 + len(problem.left_out))
