"""Methods that know how much further training there was, against explicit sums of matrices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import problem
from recursions import PATHS, PROBLEMS, RATE, SGD, STEPS, close, recursion

from fimo.attribution import attribute
from fimo.curvature.chebyshev import coefficients
from fimo.curvature.spectral_functions import FEW, _of_all_functions
from fimo.errors import UserError
from fimo.optimizers import LinearisedSGD
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.identity import Identity
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.unrolled.displaced import DisplacedGradients
from fimo.unrolled.unrolled_gauss_newton import MatchedGaussNewton, UnrolledGaussNewton

# Every kind of SGD with one network, and every network with one of them.
CASES = [(kind, *PROBLEMS[1]) for kind in SGD]
CASES += [("momentum", *PROBLEMS[0]), ("Nesterov", *PROBLEMS[2]), ("plain", *PROBLEMS[3])]


@pytest.mark.parametrize("path", PATHS)
class TestAgainstTheExplicitSum:
    @pytest.mark.parametrize("kind, task, network", CASES)
    def test_unrolled(self, kind, task, network, path):
        asked = problem(task, network)
        rates = torch.linspace(RATE, RATE / 4, max(STEPS), dtype=torch.float64).numpy()  # a schedule
        method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).for_training(
            LinearisedSGD(rates, STEPS, **SGD[kind])
        )
        scores = attribute(asked, method)
        assert scores.dims == ("step", "test", "left_out") and scores["step"].values.tolist() == STEPS
        assert method.diagnostics["path"].startswith(path)
        sums = dense.unrolled(dense.gauss_newton(asked), rates, **SGD[kind])
        for step in STEPS:
            close(scores.sel(step=step), reference.scores(asked, sums[step - 1]))

    @pytest.mark.parametrize("task, network", PROBLEMS)
    def test_matched(self, task, network, path):
        asked = problem(task, network)
        scores = attribute(asked, MatchedGaussNewton("Matched-GN", dual_bytes=PATHS[path]).for_training(recursion()))
        curvature = dense.gauss_newton(asked)
        for step in STEPS:
            inverse = dense.damped_inverse(curvature, 1 / (RATE * step))
            close(scores.sel(step=step), reference.scores(asked, inverse), rtol=1e-7)

    @pytest.mark.parametrize("task, network", [PROBLEMS[0], PROBLEMS[3]])
    def test_with_fewer_left_out_than_test_examples_and_in_small_blocks(self, task, network, path):
        asked = problem(task, network, tests=5)
        method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).for_training(recursion())
        assert len(asked.left_out) < 5
        whole = attribute(asked, method)
        close(attribute(asked, method, block_bytes=1), whole)
        sums = dense.unrolled(dense.gauss_newton(asked), [RATE] * 40)
        close(whole.sel(step=40), reference.scores(asked, sums[-1]))


@pytest.mark.parametrize("path", PATHS)
class TestLimits:
    def test_one_step_is_grad_dot(self, path):
        asked = problem("classification", "mlp")
        scores = attribute(
            asked, UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).for_training(recursion([1]))
        )
        close(scores.sel(step=1), RATE * attribute(asked, Identity("Grad-Dot")))

    def test_many_steps_are_the_undamped_influence_function(self, path):
        """On a linear network whose rows span all parameters."""
        asked = problem("regression", "linear")
        many = 2000
        scores = attribute(
            asked, UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).for_training(recursion([many]))
        )
        close(scores.sel(step=many), reference.scores(asked, torch.linalg.inv(dense.gauss_newton(asked))), rtol=1e-6)
        exact = attribute(asked, ExactGaussNewton("Exact-GN", Damping(1e-9)))
        close(scores.sel(step=many), exact, rtol=1e-5)

    def test_training_that_diverges_is_refused_with_both_numbers(self, path):
        """Polynomials have to be small a little beyond the largest eigenvalue."""
        asked = problem("regression", "mlp")
        method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path])
        largest = float(torch.linalg.eigvalsh(dense.gauss_newton(asked))[-1]) * (1 if path == "dual" else 1.05)
        found = attribute(asked, method.for_training(recursion([3, 700], 1.99 / largest)))
        matrices = dense.unrolled(dense.gauss_newton(asked), [1.99 / largest] * 700)
        close(found.sel(step=700), reference.scores(asked, matrices[-1]))
        for rate in (2.01, 2.5, 40):
            with pytest.raises(UserError, match=rf"Unrolled-GN needs .* η = .* σ = .*, ησ = {rate} \(below 2 without"):
                attribute(asked, method.for_training(recursion([2000], rate / largest)))
        # Momentum stays stable for longer: up to 2(1 + μ).
        attribute(asked, method.for_training(recursion(rate=3.7 / largest, momentum=0.9)))
        with pytest.raises(UserError, match=r"ησ = 3\.9 "):
            attribute(asked, method.for_training(recursion(rate=3.9 / largest, momentum=0.9)))
        attribute(
            asked, MatchedGaussNewton("Matched-GN", dual_bytes=PATHS[path]).for_training(recursion(rate=3 / largest))
        )


def test_curvature_over_some_of_the_rows():
    """G and its eigenvectors are those of every third row, the drift and the 1/n are those of all."""
    asked = problem("classification", rows=24)
    some = replace(asked, train=asked.train.keep(slice(0, None, 3)), left_out=torch.tensor([0]))
    P = dense.unrolled(dense.gauss_newton(some), [RATE] * 5)[-1]
    for moved in ("none", "both"):
        method = UnrolledGaussNewton("Unrolled-GN", curvature_rows=8).for_training(recursion([5]))
        drift = -P @ dense.mean_gradient(asked) if moved == "both" else torch.zeros(len(P), dtype=P.dtype)
        found = attribute(asked, method, views=DisplacedGradients(moved, method) if moved == "both" else None)
        close(found.sel(step=5), dense.moved_scores(asked, P, drift, "both"), rtol=1e-7)
        assert method.notes["rows"] == "curvature over 8 of 24 training rows"
    with pytest.raises(UserError, match="curvature_rows of Unrolled-GN must be a whole number of at least 1, found 0"):
        UnrolledGaussNewton("Unrolled-GN", curvature_rows=0)


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


@pytest.mark.parametrize("functions", [1, FEW, FEW + 1, 9])
@pytest.mark.parametrize("block", [1, 2**20])
def test_many_functions_are_one_product(functions, block, monkeypatch):
    monkeypatch.setattr("fimo.curvature.spectral_functions.BLOCK_BYTES", block)
    slopes, own, theirs = (torch.rand(*shape, dtype=torch.float64) for shape in ((functions, 7), (7, 5), (7, 3)))
    expected = torch.einsum("fk,kj,ki->fji", slopes, own, theirs)
    np.testing.assert_allclose(_of_all_functions(slopes, own, theirs), expected, rtol=1e-12)
