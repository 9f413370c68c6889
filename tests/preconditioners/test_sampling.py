"""Curvature by sampling: right in the mean over draws, and the same matrix in every pass over the rows."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from methods import LISSA, SCALE, batches
from problems import problem, text_problem
from recursions import PATHS, close, recursion

import fimo
from fimo.attribution import attribute
from fimo.curvature import gauss_newton_factor, sampling
from fimo.curvature.sampling import Sampling
from fimo.errors import UserError
from fimo.gradients import GradientSource
from fimo.gradients import training_set as sums
from fimo.gradients.cotangents import of_curvature, of_fisher
from fimo.gradients.diagonal_metric import AdamMetric
from fimo.models.class_draws import Categorical
from fimo.models.predictive import Predictive
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.problem import Problem
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.unrolled.displaced import DisplacedGradients
from fimo.unrolled.unrolled_gauss_newton import MatchedGaussNewton, UnrolledGaussNewton

DRAWS = {"curvature": "sampled", "samples": 2, "seed": 3}


def cauchy(outputs, targets):
    """A loss that is no log-likelihood that the library knows."""
    return torch.log1p(2 * (outputs - targets).square()).mean(-1)


def several_numbers():
    one = problem("classification")
    return with_targets(one, fimo.SquaredError(), lambda rows: rows.inputs[:, :3].sin())


def several_labels():
    one = problem("classification")
    return with_targets(one, fimo.BinaryCrossEntropy(), lambda rows: (rows.inputs[:, :3] > 0.3).to(rows.inputs))


def with_targets(one, objective, targets):
    train, test = (replace(rows, targets=targets(rows)) for rows in (one.train, one.test))
    return Problem(one.network, objective, train, test, one.left_out)


def weighted(one):
    weights = torch.arange(23, dtype=torch.float64) % 5 / 2
    return replace(one, train=one.train.weighted_by(weights))


ASKED = {
    "cross-entropy": partial(problem, "classification"),
    "squared error": problem,
    "squared error, several outputs": several_numbers,
    "several labels": several_labels,
    "weights of classes, smoothed": lambda: replace(
        problem("classification"), objective=fimo.CrossEntropy(weight=[0.5, 2.0, 1.0], label_smoothing=0.2)
    ),
    "Huber, by signs": lambda: replace(several_numbers(), objective=fimo.Huber(delta=0.7)),
    "own, by signs": lambda: replace(several_numbers(), objective=cauchy),
    "cross-entropy, weights of rows": lambda: weighted(problem("classification")),
    "squared error, weights of rows": lambda: weighted(several_numbers()),
    "sentences": text_problem,
}


def matrix(one, samples=1, seed=0, kind="sampled"):
    """AᵀA/n of the package's own rows."""
    sampled = Sampling(samples, seed, kind).of(one)
    A = GradientSource(sampled, factored=False)(sampled.train, of_curvature).flat()
    assert len(A) == samples * len(one.train)
    return A.T @ A / len(one.train)


@pytest.mark.parametrize("kind", ["sampled", "sketched"])
@pytest.mark.parametrize("name", ASKED)
class TestSample:
    def test_its_mean_is_the_exact_matrix(self, name, kind):
        """Over 12 seeds of 80 draws: the distance from G is that of a mean, whose size the spread over seeds gives."""
        one = ASKED[name]()
        G, drawn = dense.gauss_newton(one), torch.stack([matrix(one, 80, seed, kind) for seed in range(12)])
        mean = drawn.mean(0)
        standard_error = ((drawn - mean).square().sum((1, 2)).sum() / (12 * 11)).sqrt()
        assert (mean - G).norm() < 1.6 * standard_error + 1e-12 * G.norm()  # signs of a root of one column are exact
        assert standard_error < 0.06 * G.norm()  # a wrong factor of a tenth would be seen

    def test_is_that_of_the_slow_twin(self, name, kind):
        one = ASKED[name]()
        expected = dense.sampled_gauss_newton(one, 3, 7, kind)
        torch.testing.assert_close(
            matrix(one, 3, 7, kind), expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max())
        )

    def test_all_else_is_that_of_the_problem(self, name, kind):
        one = ASKED[name]()
        sampled = Sampling(2, kind=kind).of(one)
        torch.testing.assert_close(
            sampled.losses(one.parameters, sampled.train), one.losses(one.parameters, one.train), rtol=0, atol=0
        )
        torch.testing.assert_close(
            sampled.measured(one.parameters, one.test), one.measured(one.parameters, one.test), rtol=0, atol=0
        )
        A, B = (GradientSource(some)(some.train, of_fisher) for some in (one, sampled))
        torch.testing.assert_close(A.inner(A), B.inner(B), rtol=1e-12, atol=1e-14)
        assert repr(sampled.objective) == repr(one.objective)


class TestDraws:
    def test_are_a_function_of_seed_and_row(self):
        """Whatever other rows there are, in whatever blocks they are drawn."""
        one = problem("classification")
        drawn = Sampling(4, 1).of(one).train.targets
        few = one.train.keep(slice(5, None, 3))
        torch.testing.assert_close(Sampling(4, 1).of(replace(one, train=few, left_out=[0])).train.targets, drawn[5::3])
        assert (Sampling(2, 1).of(one).train.targets == drawn[:, :3]).all()  # the first of more
        assert (Sampling(4, 2).of(one).train.targets != drawn).any()

    def test_in_blocks(self, monkeypatch):
        one = problem("classification")
        drawn = Sampling(4).of(one).train.targets
        monkeypatch.setattr(sampling, "BLOCK_BYTES", 1)
        assert (Sampling(4).of(one).train.targets == drawn).all()

    def test_of_classes_follow_their_probabilities(self):
        """Of 4000 draws each class has its share, to four standard errors; those without probability have none."""
        outputs = torch.tensor([[0.3, -1.0, 1.2, -800.0]], dtype=torch.float64)
        uniform = torch.linspace(0, 1, 4001, dtype=torch.float64)[:-1] + 1 / 8000
        classes = Categorical().draws(fimo.CrossEntropy(), outputs, torch.tensor([0]), uniform[None, :, None])
        shares = torch.bincount(classes[0], minlength=4) / 4000
        torch.testing.assert_close(shares, torch.softmax(outputs[0], 0).float(), atol=1 / 4000, rtol=0)

    def test_another_loss_below_a_cross_entropy_is_no_likelihood_of_classes(self):
        class Focal(fimo.CrossEntropy):
            def loss(self, outputs, targets):
                return super().loss(outputs, targets) ** 2

        assert type(Focal().predictive) is Predictive and type(fimo.CrossEntropy().predictive) is Categorical

    @pytest.mark.parametrize("kind", ["sampled", "sketched"])
    @pytest.mark.parametrize("objective", [fimo.AbsoluteError(), fimo.Huber()])
    def test_signs_of_a_root_of_one_column_are_exact(self, objective, kind):
        one = replace(problem(), objective=objective)
        torch.testing.assert_close(matrix(one, kind=kind), dense.gauss_newton(one), rtol=1e-12, atol=1e-14)

    def test_sketches_have_less_noise_where_the_model_is_sure(self):
        """The distance from the exact matrix of one sample, in the mean over 40 seeds."""
        one = problem("classification")
        with torch.no_grad():
            list(one.network.parameters())[-1].copy_(torch.tensor([6.0, 0.0, 0.0]))
        G = dense.gauss_newton(one)
        noise = {
            kind: np.mean([float((matrix(one, 1, seed, kind) - G).norm() / G.norm()) for seed in range(40)])
            for kind in ("sampled", "sketched")
        }
        assert noise["sketched"] < 0.5 * noise["sampled"]


def unrolled(limit=2**30, kind=UnrolledGaussNewton):
    return kind("Unrolled-GN", dual_bytes=limit, **DRAWS).for_training(recursion([1, 3, 10], 0.02))


@pytest.mark.parametrize("network, rows", [("mlp", 1), ("mlp", 5), ("convolutional", 1), ("convolutional", 23)])
def test_every_path_has_the_same_sample(network, rows, monkeypatch):
    """The dual, products batch by batch, polynomials in the dual and in θ, whatever the blocks of rows."""
    one = problem("classification", network)
    row_bytes = GradientSource(one).row_bytes
    for place in (sampling, gauss_newton_factor, sums):
        monkeypatch.setattr(place, "GRAM_BYTES" if place is gauss_newton_factor else "BLOCK_BYTES", rows * row_bytes)
    G = dense.sampled_gauss_newton(one, 2, 3)
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


@pytest.mark.parametrize("name", ["cross-entropy", "several labels", "cross-entropy, weights of rows"])
def test_kronecker_factors_of_the_empirical_fisher_matrix(name):
    one = ASKED[name]()
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
    P = dense.unrolled(dense.sampled_gauss_newton(one, 2, 3), [0.02] * 10)
    for step in (1, 10):
        expected = dense.moved_scores(one, P[step - 1], -P[step - 1] @ dense.mean_gradient(one), "both")
        close(scores.sel(step=step), expected, rtol=1e-8)


def test_matched():
    one = weighted(problem("classification"))
    scores = attribute(one, unrolled(kind=MatchedGaussNewton)).sel(step=10)
    close(scores, reference.scores(one, dense.damped_inverse(dense.sampled_gauss_newton(one, 2, 3), 1 / 0.2)))


def test_in_the_coordinates_of_a_metric():
    one = problem("classification")
    D = dense.adam_scale(one, 23, 1e-8)
    root, G = D.sqrt(), dense.sampled_gauss_newton(one, 2, 3)
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
        options = {"depth": 400, "batch_size": None, "scales": [3.0], "dual_bytes": limit, "seed": 3, "samples": 2}
        method = NeumannSeries("LiSSA", "sampled", Damping(0.5), **options)
    _, train = reference.gradients(replace(one, left_out=range(23)))
    P = dense.damped_inverse(dense.sampled_gauss_newton(one, 2, 3), 0.5)
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
