"""How cost grows with the work: seconds against runs, epochs, rows, test examples, parameters, seeds; the exponent."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from benchmarks.comparison import made_up
from benchmarks.methods import DEPTH
from benchmarks.timing import Line, machine, seconds
from benchmarks.training import lockstep
from fimo.attribution import attribute
from fimo.comparison.tables import compare
from fimo.groups import Groups
from fimo.pipeline.run import Run
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.mean_of_inverses import MeanOfInverses
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.problem import Problem

ROUNDS = 3
# Amounts of work, each twice the one before.
RUNS, EPOCHS, SEEDS = (50, 100, 200, 400), (2, 4, 8, 16), (1, 2, 4, 8)
ROWS, TESTS, WIDTHS = (1000, 2000, 4000, 8000), (100, 200, 400, 800), (64, 128, 256, 512)
COMPARED = (12, 25, 50, 100)
SHARE = Damping(0.1, "mean_eigenvalue")


def scaling(make_run: Callable[..., Run]) -> Iterator[Line]:
    """A line for each kind of work, with its points and the exponent fitted to them."""
    torch.set_num_threads(1)
    yield from _training(make_run)
    yield from _scores(make_run)
    with ExitStack() as open_files:
        files = {count: open_files.enter_context(made_up(count, 10)) for count in COMPARED}
        yield grown("comparison", "seeds", {count: partial(compare, *made) for count, made in files.items()})


def _training(make_run: Callable[..., Run]) -> Iterator[Line]:
    run = make_run("experiment=energy", "final.epochs=1")
    problem, training = run.problem, run.training
    few = replace(training, epochs=2)

    def of_runs(runs: int) -> Problem:
        return replace(problem, left_out=Groups.of(range(runs - 1), len(problem.train)))

    yield grown("further training", "runs", {runs: partial(lockstep, of_runs(runs), few) for runs in RUNS})
    yield grown(
        "further training",
        "epochs",
        {epochs: partial(lockstep, problem, replace(training, epochs=epochs)) for epochs in EPOCHS},
    )
    yield grown("further training", "seeds", {seeds: partial(lockstep, problem, few, seeds) for seeds in SEEDS})
    widths = {}
    for width in WIDTHS:
        wide = make_run("experiment=energy", "final.epochs=1", f"model.hidden=[{width},{width}]").problem
        widths[wide.size] = partial(lockstep, wide, replace(training, epochs=1))
    yield grown("further training", "parameters", widths)


def _scores(make_run: Callable[..., Run]) -> Iterator[Line]:
    run = make_run("experiment=fico", "final.epochs=1", f"data.test_count={TESTS[-1]}")
    problem = run.problem.to(dtype=torch.float64)
    methods = {
        "DataInf": MeanOfInverses("DataInf", SHARE),
        "EK-FAC": KroneckerFactors("EK-FAC", SHARE),
        f"LiSSA, depth {DEPTH // 10}": NeumannSeries("LiSSA", "gauss_newton", Damping(1e-3), DEPTH // 10, 128, [50]),
    }

    def of(rows: int, tests: int) -> Problem:
        test, train = problem.test.keep(slice(0, tests)), problem.train.keep(slice(0, rows))
        return replace(problem, train=train, test=test, left_out=Groups.of(range(100), len(train)))

    for label, method in methods.items():
        yield grown(label, "training rows", {n: partial(attribute, of(n, TESTS[0]), method) for n in ROWS})
        yield grown(label, "test examples", {m: partial(attribute, of(ROWS[1], m), method) for m in TESTS})


def grown(what: str, of: str, works: Mapping[int, Callable[[], object]]) -> Line:
    """Seconds of each amount of work, the amounts measured in turn, and the exponent of a power law through them.

    Args:
        what: is done.
        of: what the amounts count.
        works: the work of each amount.
    """
    for work in works.values():
        work()  # to warm up
    rounds = [[seconds(work) for work in works.values()] for _ in range(ROUNDS)]
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    exponent = float(np.polyfit(np.log(list(works)), np.log(medians), 1)[0])
    points = dict(zip(works, (float(f"{median:.3g}") for median in medians), strict=True))
    return {"what": what, "of": of, "points": points, "exponent": round(exponent, 2), **machine(torch.device("cpu"))}
