"""Every method with its truth: what the tests, and the test of the unifying view, hold against each other."""

from dataclasses import dataclass, field

import torch

from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.identity import Identity
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.mean_of_inverses import MeanOfInverses
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.preconditioners.projections import RandomSigns
from fimo.preconditioners.random_projection import RandomProjection
from fimo.randomness import seed_of
from fimo.reference import methods as dense

SCALE, DEPTH, BATCH, SIZE = 20.0, 8, 6, 3
SHARE, HALF = Damping(0.1, "mean_eigenvalue"), Damping(0.5, "absolute")
LISSA = {"damping": HALF, "depth": DEPTH, "batch_size": BATCH, "scales": [SCALE]}


# A row that is there twice has two draws.
DRAWN = ("CG (sampled)", "EK-FAC (sampled)")
DRAWS = {"curvature": "sampled", "samples": 3, "seed": 5}


def batches(problem, size=BATCH):
    return list(
        torch.randint(len(problem.train), (DEPTH, size), generator=torch.Generator().manual_seed(seed_of(0, 0)))
    )


def projections(problem, count=2, size=SIZE):
    for seed in range(count):
        yield RandomSigns(problem.size, size, seed_of(0, seed)).project(torch.eye(problem.size)).double()


def trak(problem):
    return torch.stack([dense.random_projection(problem, S) for S in projections(problem)]).mean(0)


def damped_by_its_mean(matrix):
    return dense.damped_inverse(matrix, matrix.diagonal().mean())


@dataclass(frozen=True)
class Method:
    """How it is made, its explicit matrix for a problem, and how exactly the scores are known."""

    make: object
    matrix: object
    unit: bool = False
    rtol: float = 1e-8
    only: tuple = field(default=())  # networks, where the explicit matrix is known for some only


METHODS = {
    "Grad-Dot": Method(lambda: Identity("Grad-Dot"), lambda problem: None),
    "Grad-Cos": Method(lambda: Identity("Grad-Cos", phi="unit_length"), lambda problem: None, unit=True),
    "DataInf": Method(lambda: MeanOfInverses("DataInf", SHARE), lambda problem: dense.mean_of_inverses(problem, 0.1)),
    "CG": Method(
        lambda: ConjugateGradients("CG", Damping(10, "lambda_0"), tolerance=1e-12),
        lambda problem: dense.damped_inverse(dense.gauss_newton(problem), 10 * dense.lambda_0(problem)),
        rtol=1e-6,
    ),
    "LiSSA": Method(
        lambda: NeumannSeries("LiSSA", "gauss_newton", **LISSA),
        lambda problem: dense.neumann_series(problem, "gauss_newton", 0.5, SCALE, batches(problem)).T,
    ),
    "LiSSA-H": Method(
        lambda: NeumannSeries("LiSSA-H", "hessian", **LISSA),
        lambda problem: dense.neumann_series(problem, "hessian", 0.5, SCALE, batches(problem)).T,
    ),
    "EK-FAC": Method(
        lambda: KroneckerFactors("EK-FAC", SHARE),
        lambda problem: dense.kronecker_factors(problem, 0.1),
        only=("mlp", "linear"),
    ),
    "TRAK": Method(lambda: RandomProjection("TRAK", SIZE, projections=2), trak, rtol=1e-3),
    "Exact-GN": Method(
        lambda: ExactGaussNewton("Exact-GN", Damping(2, "lambda_0")),
        lambda problem: dense.damped_inverse(dense.gauss_newton(problem), 2 * dense.lambda_0(problem)),
        rtol=1e-6,
    ),
    "CG (empirical Fisher)": Method(
        lambda: ConjugateGradients("CG", Damping(1, "lambda_0"), tolerance=1e-12, curvature="empirical_fisher"),
        lambda problem: dense.damped_inverse(dense.empirical_fisher(problem), dense.lambda_0(problem)),
        rtol=1e-6,
    ),
    "CG (empirical Fisher, primal)": Method(
        lambda: ConjugateGradients(
            "CG", Damping(1, "mean_eigenvalue"), tolerance=1e-12, dual_bytes=0, curvature="empirical_fisher"
        ),
        lambda problem: dense.damped_inverse(dense.empirical_fisher(problem), dense.lambda_0(problem)),
        rtol=1e-6,
    ),
    "LiSSA (empirical Fisher)": Method(
        lambda: NeumannSeries("LiSSA", "empirical_fisher", **LISSA),
        lambda problem: dense.neumann_series(problem, "empirical_fisher", 0.5, SCALE, batches(problem)).T,
    ),
    "Exact-GN (empirical Fisher)": Method(
        lambda: ExactGaussNewton("Exact-GN", Damping(1, "lambda_0"), curvature="empirical_fisher"),
        lambda problem: dense.damped_inverse(dense.empirical_fisher(problem), dense.lambda_0(problem)),
        rtol=1e-6,
    ),
    "CG (sampled)": Method(
        lambda: ConjugateGradients("CG", Damping(1, "mean_eigenvalue"), tolerance=1e-12, **DRAWS),
        lambda problem: damped_by_its_mean(dense.sampled_gauss_newton(problem, 3, 5)),
        rtol=1e-6,
    ),
    "EK-FAC (sampled)": Method(
        lambda: KroneckerFactors("EK-FAC", SHARE, **DRAWS),
        lambda problem: dense.kronecker_factors(problem, 0.1, roots=dense.sampled_roots(problem, 3, 5)),
        only=("mlp", "linear"),
    ),
}
