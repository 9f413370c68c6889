"""Methods of a sampled curvature against one sample's dense matrix, on every path."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from methods import DRAWS, LISSA, SCALE, batches
from problems import problem
from recursions import PATHS, close, recursion

from fimo.attribution import attribute
from fimo.curvature import gauss_newton_factor, sampling
from fimo.errors import UserError
from fimo.gradients import GradientSource
from fimo.gradients import training_set as sums
from fimo.gradients.diagonal_metric import AdamMetric
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.unrolled.displaced import DisplacedGradients
from fimo.unrolled.unrolled_gauss_newton import MatchedGaussNewton, UnrolledGaussNewton


def weighted(one):
    return replace(one, train=one.train.weighted_by(torch.arange(23, dtype=torch.float64) % 5 / 2))


def unrolled(limit=2**30, kind=UnrolledGaussNewton):
    return kind("Unrolled-GN", dual_bytes=limit, **DRAWS).for_training(recursion([1, 3, 10], 0.02))


@pytest.mark.parametrize("network, rows", [("mlp", 1), ("mlp", 5), ("convolutional", 1), ("convolutional", 23)])
def test_every_path_has_the_same_sample(network, rows, monkeypatch):
    """The dual, products batch by batch, polynomials in the dual and in θ, whatever the blocks of rows."""
    one = problem("classification", network)
    row_bytes = GradientSource(one).row_bytes
    for place in (sampling, gauss_newton_factor, sums):
        monkeypatch.setattr(place, "GRAM_BYTES" if place is gauss_newton_factor else "BLOCK_BYTES", rows * row_bytes)
    G = dense.sampled_gauss_newton(one, 3, 5)
    λ, damped = 0.05, dense.damped_inverse(G, 0.05)
    expected = reference.scores(one, damped)
    make = {
        "dual": ExactGaussNewton("Exact-GN", Damping(λ), **DRAWS),
        "CG": ConjugateGradients("CG", Damping(λ), tolerance=1e-13, **DRAWS),
        "CG, primal": ConjugateGradients("CG", Damping(λ), tolerance=1e-13, dual_bytes=0, **DRAWS),
    }
    for method in make.values():
        close(attribute(one, method, block_bytes=rows * row_bytes), expected, rtol=1e-10)
    sums_of_G = dense.unrolled(G, [0.02] * 10)
    in_dual = unrolled()
    in_dual.most_rows = 1
    for method in (unrolled(), in_dual, unrolled(0)):
        scores = attribute(one, method, block_bytes=rows * row_bytes)
        for step in (1, 3, 10):
            close(scores.sel(step=step), reference.scores(one, sums_of_G[step - 1]), rtol=1e-10)
    assert "in the dual" in in_dual.diagnostics["path"]


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_batches_have_the_same_sample(network):
    """LiSSA's rows of a batch, and those that it draws twice."""
    one = problem("classification", network)
    rows = dense.sampled_roots(one, 2, 0).mT @ dense.jacobians(one)
    expected = dense.neumann_series(one, rows.mT @ rows, 0.5, SCALE, batches(one)).T
    for limit in PATHS.values():
        method = NeumannSeries("LiSSA", "sampled", **LISSA, samples=2, dual_bytes=limit)
        close(attribute(one, method), reference.scores(one, expected))


@pytest.mark.parametrize("weights", [False, True])
def test_kronecker_factors_of_the_empirical_fisher_matrix(weights):
    one = weighted(problem("classification")) if weights else problem("classification")
    plain, w = dense.unweighted(one), dense.row_weights(one)
    outputs = plain.outputs(plain.parameters, plain.train.inputs).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(plain.objective.loss(outputs, plain.train.targets).sum(), outputs)
    P = dense.kronecker_factors(one, 0.1, roots=(w.sqrt()[:, None] * gradients)[..., None])
    method = KroneckerFactors("EK-FAC", Damping(0.1, "mean_eigenvalue"), curvature="empirical_fisher")
    close(attribute(one, method), reference.scores(one, P), rtol=1e-7)


@pytest.mark.parametrize("limit", PATHS.values())
def test_moved_gradients_of_a_sampled_curvature(limit):
    """The drift too is that of the sample: products with a vector go through all training rows once more."""
    one, method = problem("classification"), unrolled(limit)
    scores = attribute(one, method, views=DisplacedGradients("both", method))
    P = dense.unrolled(dense.sampled_gauss_newton(one, 3, 5), [0.02] * 10)
    for step in (1, 10):
        expected = dense.moved_scores(one, P[step - 1], -P[step - 1] @ dense.mean_gradient(one), "both")
        close(scores.sel(step=step), expected, rtol=1e-8)


def test_matched():
    one = weighted(problem("classification"))
    scores = attribute(one, unrolled(kind=MatchedGaussNewton)).sel(step=10)
    close(scores, reference.scores(one, dense.damped_inverse(dense.sampled_gauss_newton(one, 3, 5), 1 / 0.2)))


def test_in_the_coordinates_of_a_metric():
    one = problem("classification")
    D = dense.adam_scale(one, 23, 1e-8)
    root, G = D.sqrt(), dense.sampled_gauss_newton(one, 3, 5)
    P = root[:, None] * dense.damped_inverse(root[:, None] * G * root, 0.5) * root
    method = ExactGaussNewton("Exact-GN", Damping(0.5), metric=AdamMetric(23), **DRAWS)
    close(attribute(one, method), reference.scores(one, P), rtol=1e-7)


@pytest.mark.parametrize("limit", [2**30, 0])
@pytest.mark.parametrize("kind", ["CG", "LiSSA"])
def test_self_influence_has_the_sample(kind, limit):
    one = problem("classification")
    if kind == "CG":
        method = ConjugateGradients("CG", Damping(0.5), tolerance=1e-12, dual_bytes=limit, **DRAWS)
    else:
        options = {"depth": 400, "batch_size": None, "scales": [3.0], "dual_bytes": limit, "seed": 5, "samples": 3}
        method = NeumannSeries("LiSSA", "sampled", Damping(0.5), **options)
    _, train = reference.gradients(replace(one, left_out=range(23)))
    P = dense.damped_inverse(dense.sampled_gauss_newton(one, 3, 5), 0.5)
    fitted = method.fit(one).for_all_rows(10**6)
    own = fitted.quadratic_form(GradientSource(one, fitted.factored)(one.train))
    np.testing.assert_allclose(own, ((train @ P) * train).sum(1), rtol=1e-7)


def test_what_is_refused():
    kinds = {
        "CG": partial(ConjugateGradients, "CG", Damping(1)),
        "Exact-GN": partial(ExactGaussNewton, "Exact-GN", Damping(1)),
        "Unrolled-GN": partial(UnrolledGaussNewton, "Unrolled-GN"),
        "EK-FAC": partial(KroneckerFactors, "EK-FAC", Damping(1)),
    }
    for label, make in kinds.items():
        with pytest.raises(UserError, match=f"samples of {label} must be a whole number of at least 1, found 0"):
            make(curvature="sampled", samples=0)
        for curvature in ("exact", "empirical_fisher"):
            expected = f"samples of {label} must be 1 where curvature is {curvature}, found 4: draws are those of"
            with pytest.raises(UserError, match=expected):
                make(curvature=curvature, samples=4)
        expected = f"curvature of {label} must be one of exact, sampled, sketched, empirical_fisher, found 'fisher'"
        with pytest.raises(UserError, match=expected):
            make(curvature="fisher")
        with pytest.raises(UserError, match=f"seed of {label} must be a whole number of at least 0, found -1"):
            make(curvature="sampled", seed=-1)
        assert make(curvature="gauss_newton").kind == make(curvature="exact").kind == make().kind
