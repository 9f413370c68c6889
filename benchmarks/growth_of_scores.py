"""The work whose growth is measured: scores of every method, for more and more of each thing that they depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.methods import DEPTH, SHARE
from fimo.attribution import attribute
from fimo.groups import Groups
from fimo.optimizers.linearised import linearised
from fimo.pipeline.run import Run
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.identity import Identity
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.mean_of_inverses import MeanOfInverses
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.preconditioners.random_projection import RandomProjection
from fimo.problem import Problem
from fimo.ranking import rank_rows
from fimo.rows import map_inputs
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

Works = Mapping[int, Callable[[], object]]
# Amounts, each twice the one before; the others are at the second one meanwhile.
ROWS, TESTS, LEFT_OUT, WIDTHS = (1000, 2000, 4000, 8000), (50, 100, 200, 400), (50, 100, 200, 400), (64, 128, 256, 512)
# Rows of methods that decompose a matrix of all of them, minutes of 8,000.
DECOMPOSED = dict.fromkeys(("Exact-GN", "Unrolled-GN"), (500, 1000, 2000, 4000))
TIMES_LONGER = (1, 2, 4, 8)
RANKED = (3750, 7500, 15000, 30000)
STEP = 1e-3  # a step size with which the recursion of Unrolled-GN converges
CURVATURE = Damping(1e-3)


def unrolled() -> UnrolledGaussNewton:
    """Unrolled-GN for three amounts of further training."""
    recursion = linearised(torch.optim.SGD([torch.zeros(1)], lr=STEP), [10, 100, 1000], 128)
    return UnrolledGaussNewton("Unrolled-GN").for_training(recursion)


METHODS: dict[str, Callable[[], Preconditioner]] = {
    "Grad-Dot": lambda: Identity("Grad-Dot"),
    "Grad-Cos": lambda: Identity("Grad-Cos", "unit_length"),
    "DataInf": lambda: MeanOfInverses("DataInf", SHARE),
    "EK-FAC": lambda: KroneckerFactors("EK-FAC", SHARE),
    "TRAK": lambda: RandomProjection("TRAK", 256),
    "CG": lambda: ConjugateGradients("CG", CURVATURE),
    "LiSSA": lambda: NeumannSeries("LiSSA", "gauss_newton", CURVATURE, DEPTH // 10, 128, [50]),
    "Exact-GN": lambda: ExactGaussNewton("Exact-GN", CURVATURE),
    "Unrolled-GN": unrolled,
}
# Of sentences, with one draw for each row.
OF_TOKENS: dict[str, Callable[[], Preconditioner]] = {
    "Grad-Dot": METHODS["Grad-Dot"],
    "DataInf": METHODS["DataInf"],
    "EK-FAC": lambda: KroneckerFactors("EK-FAC", SHARE, curvature="sampled"),
    "CG": lambda: ConjugateGradients("CG", CURVATURE, curvature="sampled"),
}


def works(make_run: Callable[..., Run]) -> Iterator[tuple[str, str, Works]]:
    """What is done, what its amounts count, and the work of each amount."""
    problem = make_run("experiment=fico", "final.epochs=1", f"data.test_count={TESTS[-1]}").problem
    wide = {}
    for width in WIDTHS:
        other = make_run("experiment=fico", "final.epochs=1", f"model.hidden=[{width},{width}]").problem
        wide[other.size] = _part(other.to(dtype=torch.float64))
    of = partial(_part, problem.to(dtype=torch.float64))
    for label, make in METHODS.items():
        yield label, "training rows", {n: _scores(of(rows=n), make) for n in DECOMPOSED.get(label, ROWS)}
        yield label, "test examples", {m: _scores(of(tests=m), make) for m in TESTS}
        yield label, "left-out examples", {k: _scores(of(left_out=k), make) for k in LEFT_OUT}
        yield label, "parameters", {p: _scores(other, make) for p, other in wide.items()}
    lines = make_run("experiment=language", "final.epochs=1").problem
    for label, make in OF_TOKENS.items():
        yield label, "tokens", {t: _scores(longer(lines, t), make) for t in TIMES_LONGER}
    everybody = make_run("experiment=folktables", "final.epochs=1", "data.test_count=20").problem
    for label in ("Grad-Dot", "EK-FAC"):
        ranked = {n: partial(_ranked, _part(everybody, n, 20), METHODS[label]) for n in RANKED}
        yield f"ranking by {label}", "training rows", ranked


def _scores(problem: Problem, make: Callable[[], Preconditioner]) -> Callable[[], object]:
    return lambda: attribute(problem, make())


def _ranked(problem: Problem, make: Callable[[], Preconditioner]) -> None:
    rank_rows(problem, make(), 10)


def _part(problem: Problem, rows: int = ROWS[1], tests: int = TESTS[1], left_out: int = LEFT_OUT[1]) -> Problem:
    train, test = problem.train.keep(slice(0, rows)), problem.test.keep(slice(0, tests))
    return replace(problem, train=train, test=test, left_out=Groups.of(range(left_out), rows))


def longer(problem: Problem, times: int) -> Problem:
    """The training rows of the commonest length, with each sequence so many times over."""
    rows = problem.train
    assert rows.lengths is not None
    length = int(rows.lengths.mode().values)
    alike = rows.keep((rows.lengths == length).nonzero().flatten())

    def repeated(tensor: Tensor) -> Tensor:
        return tensor[:, :length].repeat(1, times)

    inputs = map_inputs(repeated, alike.inputs)
    lengths = torch.full((len(alike),), length * times)
    train = replace(alike, inputs=inputs, targets=repeated(alike.targets), lengths=lengths)
    return replace(problem, train=train, left_out=Groups.of(range(8), len(train)))
