"""How time and memory grow with the work: exponents of power laws, for further training, scores and comparisons."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from benchmarks import growth_of_scores
from benchmarks.comparison import made_up
from benchmarks.growth_of_scores import TIMES_LONGER, WIDTHS, longer
from benchmarks.timing import Line, machine, peak_mib, seconds
from benchmarks.training import lockstep
from fimo.comparison.tables import compare
from fimo.groups import Groups
from fimo.pipeline.run import Run
from fimo.problem import Problem

ROUNDS = 3
# Amounts of work, each twice the one before.
RUNS, EPOCHS, SEEDS = (50, 100, 200, 400), (2, 4, 8, 16), (1, 2, 4, 8)
TESTS, MEMBERS = (20, 40, 80, 160), (1, 2, 4, 8)
COMPARED = (12, 25, 50, 100)


def scaling(make_run: Callable[..., Run]) -> Iterator[Line]:
    """A line for each kind of work, with its points and the exponents fitted to them."""
    torch.set_num_threads(1)  # as `peak_mib` needs it, too
    yield from _training(make_run)
    for what, of, works in growth_of_scores.works(make_run):
        yield grown(what, of, works)
    with ExitStack() as open_files:
        files = {count: open_files.enter_context(made_up(count, 10)) for count in COMPARED}
        yield grown("comparison", "seeds", {count: partial(compare, *made) for count, made in files.items()})


def _training(make_run: Callable[..., Run]) -> Iterator[Line]:
    """Both golds on energy, and the runs of a small decoder for tokens."""
    run = make_run(
        "experiment=energy", "final.epochs=1", f"data.test_count={TESTS[-1]}", "data.test_size=0.25", "data.left_out=24"
    )
    problem, training = run.problem, replace(run.training, epochs=2)
    wide = {}
    for width in WIDTHS:
        other = make_run(
            "experiment=energy", "final.epochs=1", f"model.hidden=[{width},{width}]", "data.left_out=24"
        ).problem
        wide[other.size] = other
    n = len(problem.train)

    def with_tests(tests: int) -> Problem:
        return replace(problem, test=problem.test.keep(slice(0, tests)))

    def without(groups: Groups) -> Problem:
        return replace(problem, left_out=groups)

    for gold, few in (("further training", training), ("tangents", replace(training, tangents=True))):
        runs = {count: partial(lockstep, without(Groups.of(range(count - 1), n)), few) for count in RUNS}
        yield grown(gold, "runs", runs)
        longest = {epochs: partial(lockstep, problem, replace(few, epochs=epochs)) for epochs in EPOCHS}
        yield grown(gold, "epochs", longest)
        yield grown(gold, "seeds", {seeds: partial(lockstep, problem, few, seeds) for seeds in SEEDS})
        yield grown(gold, "test examples", {tests: partial(lockstep, with_tests(tests), few) for tests in TESTS})
        yield grown(gold, "parameters", {size: partial(lockstep, other, few) for size, other in wide.items()})
    groups = {size: Groups.of([[*range(k, k + size)] for k in range(0, 400, 8)], n) for size in MEMBERS}
    yield grown(
        "further training", "rows of a group", {s: partial(lockstep, without(g), training) for s, g in groups.items()}
    )
    run = make_run("experiment=language", "final.epochs=1", "data.left_out=8", "optimizer=sgd")
    lines = {times: longer(run.problem, times) for times in TIMES_LONGER}
    few = replace(run.training, epochs=1)
    yield grown("further training", "tokens", {times: partial(lockstep, other, few) for times, other in lines.items()})


def grown(what: str, of: str, works: Mapping[int, Callable[[], object]]) -> Line:
    """Seconds and memory of each amount of work, and the exponents of power laws through them.

    Args:
        what: is done.
        of: what the amounts count.
        works: the work of each amount; they are measured in turn.
    """
    memory = {amount: peak_mib(work) for amount, work in works.items()}
    for work in works.values():
        work()  # to warm up
    rounds = [[seconds(work) for work in works.values()] for _ in range(ROUNDS)]
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    points = dict(zip(works, (float(f"{median:.3g}") for median in medians), strict=True))
    return {
        "what": what,
        "of": of,
        "points": points,
        "exponent": _exponent(points),
        "MiB": memory,
        "memory_exponent": _exponent({amount: max(1, taken) for amount, taken in memory.items()}),
        **machine(torch.device("cpu")),
    }


def _exponent(points: Mapping[int, float]) -> float:
    return round(float(np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)[0]), 2)
