"""Curvature by sampling: right in the mean over draws, and the same matrix in every pass over the rows."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from problems import problem, text_problem

import fimo
from fimo.curvature import sampling
from fimo.curvature.sampling import Sampling
from fimo.gradients import GradientSource
from fimo.gradients.cotangents import of_curvature, of_fisher
from fimo.models.class_draws import Categorical
from fimo.models.predictive import Predictive
from fimo.problem import Problem
from fimo.reference import methods as dense


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
