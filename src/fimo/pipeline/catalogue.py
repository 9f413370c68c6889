"""The methods by name, as conf/method/ has them: for callers from Python, who have no config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fimo.baselines.bm25 import BM25
from fimo.baselines.embedding import Embedding
from fimo.baselines.random_scores import RandomScores
from fimo.errors import UserError
from fimo.pipeline.methods import NOT_DISPLACED, Method
from fimo.pipeline.scorers import AnyMethod, scorer_method
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.identity import Identity
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.mean_of_inverses import MeanOfInverses
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.preconditioners.random_projection import RandomProjection
from fimo.unrolled.unrolled_gauss_newton import MatchedGaussNewton, UnrolledGaussNewton

# λ of CG, LiSSA and Exact-GN, and of DataInf and EK-FAC (arXiv 2412.03906).
DAMPING, SHARE_OF_MEAN = Damping(100, "lambda_0"), Damping(0.1, "mean_eigenvalue")
LISSA_DEPTH, LISSA_SCALES, LISSA_BATCH = 5000, (10, 20, 50, 100, 150, 200, 500), 32


def _lissa(label: str, curvature: str, batch_size: int) -> NeumannSeries:
    return NeumannSeries(label, curvature, DAMPING, LISSA_DEPTH, batch_size, list(LISSA_SCALES))


# Of rows in LiSSA's batches, and the curvature.
CATALOGUE: dict[str, Callable[[int, str], Preconditioner]] = {
    "grad_dot": lambda batch, curvature: Identity("Grad-Dot", phi="raw"),
    "grad_cos": lambda batch, curvature: Identity("Grad-Cos", phi="unit_length"),
    "datainf": lambda batch, curvature: MeanOfInverses("DataInf", SHARE_OF_MEAN),
    "cg": lambda batch, curvature: ConjugateGradients("CG", DAMPING, curvature=curvature),
    "lissa": lambda batch, curvature: _lissa("LiSSA", curvature, batch),
    "lissa_h": lambda batch, curvature: _lissa("LiSSA-H", "hessian", batch),
    "ekfac": lambda batch, curvature: KroneckerFactors("EK-FAC", SHARE_OF_MEAN, curvature=curvature),
    "trak": lambda batch, curvature: RandomProjection("TRAK", projections=5),
    "exact_gn": lambda batch, curvature: ExactGaussNewton("Exact-GN", DAMPING, curvature=curvature),
    "unrolled_gn": lambda batch, curvature: UnrolledGaussNewton("Unrolled-GN", curvature=curvature),
    "matched_gn": lambda batch, curvature: MatchedGaussNewton("Matched-GN", curvature=curvature),
    "unrolled_gn_moved": lambda batch, curvature: UnrolledGaussNewton("Unrolled-GN (moved)", curvature=curvature),
}
DISPLACED = {"unrolled_gn_moved": "both"}
BASELINES: dict[str, Callable[[], Any]] = {"random": RandomScores, "embedding": Embedding, "bm25": BM25}


def method_named(name: str, batch_size: int = LISSA_BATCH, curvature: str = "exact") -> AnyMethod:
    """A method with the settings of conf/method/.

    Args:
        name: as on the command line, `cg`.
        batch_size: rows of LiSSA's batches: those of further training.
        curvature: of methods that have one: what the objective is usually taken with.

    Raises:
        UserError: for another name.
    """
    if name in BASELINES:
        return scorer_method(BASELINES[name](), name)
    if name not in CATALOGUE:
        expected = ", ".join([*CATALOGUE, *BASELINES])
        raise UserError(f"{name!r} is no method: expected {expected}, or a Preconditioner or Method.")
    preconditioner = CATALOGUE[name](batch_size, curvature)
    sides = DISPLACED.get(name, NOT_DISPLACED)
    return Method(name, preconditioner.label, preconditioner, preconditioner.dtype, sides=sides)


def method_of(preconditioner: Preconditioner) -> Method:
    """A method of a preconditioner of one's own."""
    return Method(preconditioner.label, preconditioner.label, preconditioner, preconditioner.dtype)
