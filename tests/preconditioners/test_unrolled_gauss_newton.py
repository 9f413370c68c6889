"""Methods that know how much further training there was, against explicit sums of matrices."""

import copy
from dataclasses import replace
from functools import partial

import naive
import naive_methods as dense
import numpy as np
import pytest
import torch
from problems import problem

from fimo.attribution import attribute
from fimo.errors import UserError
from fimo.gradients import spectrum, sums
from fimo.gradients.chebyshev import coefficients
from fimo.preconditioners import unrolled_gauss_newton
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.drift import lowered
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.identity import Identity
from fimo.preconditioners.linear_recursion import LinearRecursion
from fimo.preconditioners.unrolled_gauss_newton import MatchedGaussNewton, UnrolledGaussNewton

PROBLEMS = [
    ("regression", "mlp"),
    ("classification", "mlp"),
    ("classification", "convolutional"),
    ("classification", "transformer"),
]
STEPS, RATE = [1, 2, 7, 40], 0.05
SGD = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "dampening and decay": {"momentum": 0.7, "dampening": 0.3, "weight_decay": 0.1},
    "Nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
}
PATHS = {"dual": 2**30, "polynomials": 0}


def recursion(steps=STEPS, rate=RATE, **options):
    return LinearRecursion(np.full(max(steps), rate), steps, **options)


def close(scores, expected, rtol=1e-8):
    np.testing.assert_allclose(scores, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("task, network", PROBLEMS)
class TestAgainstTheExplicitSum:
    @pytest.mark.parametrize("kind", SGD)
    def test_unrolled(self, kind, task, network, path):
        asked = problem(task, network)
        rates = torch.linspace(RATE, RATE / 4, max(STEPS), dtype=torch.float64).numpy()  # a schedule
        method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).along(
            LinearRecursion(rates, STEPS, **SGD[kind])
        )
        scores = attribute(asked, method)
        assert scores.dims == ("step", "test", "left_out") and scores["step"].values.tolist() == STEPS
        assert method.facts["path"].startswith(path)
        sums = dense.unrolled(dense.gauss_newton(asked), rates, **SGD[kind])
        for step in STEPS:
            close(scores.sel(step=step), naive.scores(asked, sums[step - 1]))

    def test_matched(self, task, network, path):
        asked = problem(task, network)
        scores = attribute(asked, MatchedGaussNewton("Matched-GN", dual_bytes=PATHS[path]).along(recursion()))
        for step in STEPS:
            inverse = dense.damped_inverse(dense.gauss_newton(asked), 1 / (RATE * step))
            close(scores.sel(step=step), naive.scores(asked, inverse), rtol=1e-7)

    def test_with_fewer_left_out_than_test_examples_and_in_small_blocks(self, task, network, path):
        asked = problem(task, network, tests=7)
        method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).along(recursion())
        assert len(asked.left_out) < 7
        whole = attribute(asked, method)
        close(attribute(asked, method, block_bytes=1), whole)
        sums = dense.unrolled(dense.gauss_newton(asked), [RATE] * 40)
        close(whole.sel(step=40), naive.scores(asked, sums[-1]))


@pytest.mark.parametrize("path", PATHS)
class TestLimits:
    def test_one_step_is_grad_dot(self, path):
        asked = problem("classification", "mlp")
        scores = attribute(asked, UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).along(recursion([1])))
        close(scores.sel(step=1), RATE * attribute(asked, Identity("Grad-Dot")))

    def test_many_steps_are_the_undamped_influence_function(self, path):
        """On a linear network whose rows span all parameters."""
        asked = problem("regression", "linear")
        many = 20000
        scores = attribute(asked, UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).along(recursion([many])))
        close(scores.sel(step=many), naive.scores(asked, torch.linalg.inv(dense.gauss_newton(asked))), rtol=1e-6)
        exact = attribute(asked, ExactGaussNewton("Exact-GN", Damping(1e-9)))
        close(scores.sel(step=many), exact, rtol=1e-5)

    def test_training_that_diverges_is_refused_with_both_numbers(self, path):
        """Polynomials have to be small a little beyond the largest eigenvalue."""
        asked = problem("regression", "mlp")
        method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path])
        largest = float(torch.linalg.eigvalsh(dense.gauss_newton(asked))[-1]) * (1 if path == "dual" else 1.05)
        found = attribute(asked, method.along(recursion([3, 700], 1.99 / largest)))
        matrices = dense.unrolled(dense.gauss_newton(asked), [1.99 / largest] * 700)
        close(found.sel(step=700), naive.scores(asked, matrices[-1]))
        for rate in (2.01, 2.5, 40):
            with pytest.raises(UserError, match=rf"Unrolled-GN needs .* η = .* σ = .*, ησ = {rate} \(below 2 without"):
                attribute(asked, method.along(recursion([20000], rate / largest)))
        # Momentum stays stable for longer: up to 2(1 + μ).
        attribute(asked, method.along(recursion(rate=3.7 / largest, momentum=0.9)))
        with pytest.raises(UserError, match=r"ησ = 3\.9 "):
            attribute(asked, method.along(recursion(rate=3.9 / largest, momentum=0.9)))
        attribute(asked, MatchedGaussNewton("Matched-GN", dual_bytes=PATHS[path]).along(recursion(rate=3 / largest)))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("task, network", PROBLEMS)
class TestMovedGradients:
    @pytest.mark.parametrize("moved", ["train", "both"])
    def test_equal_the_explicit_formula(self, moved, task, network, path):
        asked, steps = problem(task, network), [1, 3, 10]
        options = {"momentum": 0.5, "weight_decay": 0.05}
        method = UnrolledGaussNewton("Unrolled-GN", moved, dual_bytes=PATHS[path])
        scores = attribute(asked, method.along(recursion(steps, 0.01, **options)))
        assert scores.dims == ("step", "test", "left_out")
        theta = torch.nn.utils.parameters_to_vector(asked.network.parameters()).detach()
        pull = dense.mean_gradient(asked) + 0.05 * theta
        sums = dense.unrolled(dense.gauss_newton(asked), [0.01] * 10, **options)
        assert method.facts["share_of_drift"] == [1, 1, 1] and "drift" not in method.notes
        assert method.facts["mean_gradient_norm"] == pytest.approx(float(dense.mean_gradient(asked).norm()))
        for step in steps:
            P = sums[step - 1]
            close(scores.sel(step=step), dense.moved_scores(asked, P, -P @ pull, moved), rtol=1e-7)

    def test_matched(self, task, network, path):
        asked = problem(task, network)
        method = MatchedGaussNewton("Matched-GN", "both", dual_bytes=PATHS[path]).along(recursion([2], 0.01))
        P = dense.damped_inverse(dense.gauss_newton(asked), 1 / 0.02)
        expected = dense.moved_scores(asked, P, -P @ dense.mean_gradient(asked), "both")
        close(attribute(asked, method).sel(step=2), expected, rtol=1e-7)


@pytest.mark.parametrize("path", PATHS)
def test_on_least_squares_the_drift_is_that_of_further_training(path):
    """Away from the optimum, where the model is quadratic and the Gauss–Newton matrix is the Hessian."""
    asked, steps = problem("regression", "linear"), [1, 5, 60]
    network = copy.deepcopy(asked.network)
    method = UnrolledGaussNewton("Unrolled-GN", "both", dual_bytes=PATHS[path]).along(recursion(steps)).fit(asked)
    found = {step: there.network for step, (_, there, _) in zip(steps, method.views(asked), strict=True)}
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    for step in range(1, max(steps) + 1):
        optimizer.zero_grad()
        asked.objective.loss(network(asked.train.inputs), asked.train.targets).mean().backward()
        optimizer.step()
        if step in steps:
            for parameter, expected in zip(found[step].parameters(), network.parameters(), strict=True):
                np.testing.assert_allclose(parameter.detach(), expected.detach(), rtol=1e-9, atol=1e-11)


def test_a_drift_that_raises_the_loss_is_gone_in_part():
    """On a linear network the loss along the way is known: it is lowest at 1, as high as at first at 2."""
    asked = problem("regression", "linear")
    matrix, pull = dense.gauss_newton(asked), dense.mean_gradient(asked)
    step = -torch.linalg.solve(matrix, pull)

    def by(times):
        blocks = step.split([p.numel() for p in asked.network.parameters()])
        names = dict(asked.network.named_parameters())
        return {name: times * part.reshape(p.shape) for (name, p), part in zip(names.items(), blocks, strict=True)}

    assert [lowered(asked, by(times))[1] for times in (0.5, 1.9, 2.1, 7, -1)] == [1, 1, 0.5, 0.25, 0]
    there, share = lowered(asked, by(2.1))
    np.testing.assert_allclose(
        torch.nn.utils.parameters_to_vector(there.network.parameters()).detach(),
        torch.nn.utils.parameters_to_vector(asked.network.parameters()).detach() + share * 2.1 * step,
    )
    assert lowered(asked, by(-1))[0] is asked


def test_curvature_over_some_of_the_rows():
    """G and its eigenvectors are those of every third row, the drift and the 1/n are those of all."""
    asked = problem("classification", rows=24)
    some = replace(asked, train=asked.train.keep(slice(0, None, 3)), left_out=torch.tensor([0]))
    P = dense.unrolled(dense.gauss_newton(some), [RATE] * 5)[-1]
    for moved in ("none", "both"):
        method = UnrolledGaussNewton("Unrolled-GN", moved, curvature_rows=8).along(recursion([5]))
        drift = -P @ dense.mean_gradient(asked) if moved == "both" else torch.zeros(len(P), dtype=P.dtype)
        close(attribute(asked, method).sel(step=5), dense.moved_scores(asked, P, drift, "both"), rtol=1e-7)
        assert method.notes["rows"] == "curvature over 8 of 24 training rows"
    with pytest.raises(UserError, match="curvature_rows of Unrolled-GN must be a whole number of at least 1, found 0"):
        UnrolledGaussNewton("Unrolled-GN", curvature_rows=0)


def test_weight_decay_is_a_part_of_what_is_lowered():
    """A final model at its optimum without decay: training on with it goes elsewhere, and the loss itself rises."""
    asked = problem("regression", "linear")
    step = torch.linalg.solve(dense.gauss_newton(asked), dense.mean_gradient(asked))
    with torch.no_grad():
        theta = torch.nn.utils.parameters_to_vector(asked.network.parameters()) - step
        torch.nn.utils.vector_to_parameters(theta, asked.network.parameters())
    method = UnrolledGaussNewton("Unrolled-GN", "both").along(recursion([1, 30], weight_decay=0.1))
    attribute(asked, method)
    assert method.facts["share_of_drift"] == [1, 1]


def test_the_drift_is_the_same_in_other_blocks_of_rows(monkeypatch):
    """Roots of the loss's Hessian are made again for it, and they have signs."""
    asked = problem("classification", "mlp", rows=40)

    def scores(block_bytes):
        monkeypatch.setattr(spectrum, "weighted_sum", partial(sums.weighted_sum, block_bytes=block_bytes))
        monkeypatch.setattr(spectrum, "row_products", partial(sums.row_products, block_bytes=block_bytes))
        return attribute(asked, UnrolledGaussNewton("Unrolled-GN", "both").along(recursion([1, 30])))

    close(scores(1), scores(2**28), rtol=1e-9)


def test_the_reader_is_told_of_a_drift_that_was_cut(monkeypatch):
    asked = problem("classification", "mlp")
    monkeypatch.setattr(unrolled_gauss_newton, "lowered", lambda asked, *drift: (asked, 0.25))
    method = UnrolledGaussNewton("Unrolled-GN", "both").along(recursion([1, 2]))
    attribute(asked, method)
    assert method.notes["drift"] == (
        "the estimated drift raises the training loss after 2 of 2 evaluated steps, where as little as 0.25 of the way "
        "was gone"
    )
    with pytest.raises(UserError, match="moved of Unrolled-GN must be one of none, train, both, found 'all'"):
        UnrolledGaussNewton("Unrolled-GN", "all")


def test_the_closed_form():
    sigma = torch.tensor([0.0, 1e-12, 1e-3, 0.5, 30.0], dtype=torch.float64)
    found = recursion([1, 10, 1000]).filters(sigma)
    for row, t in zip(found, (1, 10, 1000), strict=True):
        exact = [RATE * t, *(-np.expm1(t * np.log1p(-RATE * s)) / s for s in sigma[1:4].tolist())]
        np.testing.assert_allclose(row[:4], exact, rtol=1e-12)
        np.testing.assert_allclose(row[4], (1 - (1 - RATE * 30) ** t) / 30, rtol=1e-12)  # ησ is above 1


def test_chebyshev_coefficients():
    sigma = torch.linspace(0, 3, 50, dtype=torch.float64)
    kept = recursion([1, 5, 300], rate=0.6)
    weights = coefficients(kept.filters, 3.0)
    angles = torch.arccos((2 * sigma / 3 - 1).clamp(-1, 1))
    sums = weights @ torch.cos(torch.arange(weights.shape[1], dtype=torch.float64)[:, None] * angles)
    np.testing.assert_allclose(sums, kept.filters(sigma), rtol=1e-9, atol=1e-9)
    assert weights.shape[1] < 200  # the sum itself is of degree 299
