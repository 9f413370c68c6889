"""Scores of each method, and per-example gradients, against plain loops for one example at a time.

A loop is timed on one test example (and, where it goes through training rows one by one, on a part of them) and scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from benchmarks.timing import Line, measured, seconds
from fimo.attribution import attribute
from fimo.gradients import per_example_gradients
from fimo.gradients.source import GradientSource
from fimo.groups import Groups
from fimo.pipeline.run import Run
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.identity import Identity
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.mean_of_inverses import MeanOfInverses
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.preconditioners.random_projection import RandomProjection
from fimo.problem import Problem
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.reference import solvers

DEPTH, BATCH = 5000, 128
LISSA_STEPS = 50  # of the plain recursion, scaled to its depth
FOUR = (1, 10, 100, 1000)
MOST = 300  # iterations of the plain conjugate gradients on energy: a lower bound where they need more
ROWS = 500  # training rows that a plain loop goes through, scaled to all
SHARE = Damping(0.1, "mean_eigenvalue")


def methods(make_run: Callable[..., Run]) -> Iterator[Line]:
    """A line for each method on energy and on fico, in float64, with one thread."""
    torch.set_num_threads(1)
    for experiment in ("energy", "fico"):
        problem = make_run(f"experiment={experiment}").problem.to(dtype=torch.float64)
        tests, rows = len(problem.test), len(problem.train)
        size = f"{experiment}: {tests} test × {len(problem.left_out)} left-out examples, {rows} rows, float64"
        for label, fast, slow, rounds in _compared(experiment, problem):
            yield measured(label, size, fast, slow, rounds=rounds, twin_rounds=1)
    problem = make_run("experiment=digits").problem.to(dtype=torch.float64)
    yield measured(
        "per-example gradients",
        f"digits: {len(problem.train)} rows, {problem.size} parameters, convolutional, float64",
        lambda: per_example_gradients(problem, problem.train),
        partial(_loop_gradients, problem),
    )


def _compared(experiment: str, problem: Problem) -> Iterator[tuple[str, Callable, Callable[[], float] | None, int]]:
    """Label, ours, the loop, rounds."""
    λ0, small = GradientSource(problem).lambda_0, experiment == "energy"
    damping = Damping(1000 * λ0 if small else 100 * λ0)
    scores = partial(attribute, problem)
    if small:
        yield (
            "Exact-GN, 1, 10, 100 and 1000 λ0",
            partial(exact, problem, FOUR),
            partial(_loop_cg, problem, [s * λ0 for s in FOUR], MOST),
            5,
        )
    yield "Grad-Dot", partial(scores, Identity("Grad-Dot")), partial(_loop_gradients, problem), 5
    yield "DataInf", partial(scores, MeanOfInverses("DataInf", SHARE)), partial(_loop_datainf, problem), 5
    ekfac = partial(_loop_ekfac, problem) if small else None  # the plain one is written for regression
    yield "EK-FAC", partial(scores, KroneckerFactors("EK-FAC", SHARE)), ekfac, 5
    yield "TRAK", partial(scores, RandomProjection("TRAK", 512 if small else 2048)), None, 3
    cg = ConjugateGradients("CG", damping)
    yield "CG, 1e-5", partial(scores, cg), partial(_loop_cg, problem, [damping.scale], MOST if small else 0), 3
    lissa = NeumannSeries("LiSSA", "gauss_newton", damping, DEPTH, BATCH, [10])
    yield f"LiSSA, depth {DEPTH}", partial(scores, lissa), partial(_loop_lissa, problem, damping.scale), 3


def exact(problem: Problem, scales: Sequence[float]) -> None:
    """Scores with several dampings from one fit."""
    method = ExactGaussNewton("Exact-GN", Damping(1)).fit(problem)
    source = GradientSource(problem)
    test, left_out = source(problem.test), source(problem.train.keep(problem.left_out.rows))
    for scale in scales:
        (method.damped(Damping(scale, "lambda_0")) @ test).inner(left_out)


def _first_gradient(problem: Problem) -> torch.Tensor:
    """The first test example's, flat."""
    return reference.gradient(problem, *problem.test[torch.tensor(0)])


def _part(problem: Problem) -> tuple[Problem, float]:
    """A problem with so few rows that a loop can go through them, and how many times more there are."""
    rows = min(ROWS, len(problem.train))
    part = replace(problem, train=problem.train.keep(slice(0, rows)), left_out=Groups.of([0], rows))
    return part, len(problem.train) / rows


def _loop_gradients(problem: Problem) -> float:
    """Seconds of all training gradients, one after another."""
    part, times = _part(problem)
    return times * seconds(lambda: solvers.training_gradients(part))


def _loop_cg(problem: Problem, dampings: Sequence[float], most: int) -> float:
    """Seconds of plain conjugate gradients for all test examples, from one; `most` 0: from five iterations."""
    solve, g = solvers.conjugate_gradients, _first_gradient(problem)
    spent = seconds(lambda: [solve(problem, g, damping, 1e-5, most or 5) for damping in dampings])
    return len(problem.test) * spent * (1 if most else MOST / 5)


def _loop_lissa(problem: Problem, damping: float) -> float:
    """Seconds of the plain recursion for all test examples and its whole depth, from one and some steps."""
    batches = list(torch.randint(len(problem.train), (LISSA_STEPS, BATCH)))
    recursion, g = dense.influence_by_batches, _first_gradient(problem)
    spent = seconds(lambda: recursion(problem, g, batches, damping, 10.0))
    return len(problem.test) * spent * DEPTH / LISSA_STEPS


def _loop_datainf(problem: Problem) -> float:
    """Seconds of all training gradients and, from one test example, of P times each test gradient."""
    (part, times), plain, g = _part(problem), solvers, _first_gradient(problem)
    gradients: list = []
    once = seconds(lambda: gradients.extend(plain.training_gradients(part)))
    return times * (once + len(problem.test) * seconds(lambda: plain.mean_of_inverses(part, g, gradients, 0.1)))


def _loop_ekfac(problem: Problem) -> float:
    """Seconds of the bases and, from one test example, of P times each test gradient."""
    plain, g = solvers, _first_gradient(problem)
    bases: list = []
    once = seconds(lambda: bases.extend(plain.kronecker_bases(problem)))
    return once + len(problem.test) * seconds(lambda: plain.kronecker_factors(problem, g, bases, 0.1))
