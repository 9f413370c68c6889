"""CG, LiSSA and the exact solution: dual and primal, residuals, scales, divergence."""

import numpy as np
import pytest
import torch
from methods import DEPTH, HALF, METHODS, SCALE, batches
from problems import problem

from fimo.attribution import attribute
from fimo.curvature.gauss_newton_factor import GaussNewtonFactor, gram_bytes
from fimo.errors import UserError
from fimo.gradients import GradientSource
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.reference import gradients as reference
from fimo.reference import methods as dense

TASKS = ["regression", "classification"]


def steeper(question, factor=8.0):
    """The same problem with larger inputs, so with a larger curvature."""
    question.train.inputs.mul_(factor), question.test.inputs.mul_(factor)
    return question


def lissa(curvature="gauss_newton", label="LiSSA", **changes):
    settings = {"damping": HALF, "depth": DEPTH, "batch_size": 6, "scales": [SCALE], **changes}
    return NeumannSeries(label, curvature, **settings)


class TestDualAndPrimal:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("network", ["mlp", "linear"])
    @pytest.mark.parametrize(
        "make",
        [
            lambda limit: ConjugateGradients("CG", Damping(10, "lambda_0"), tolerance=1e-10, dual_bytes=limit),
            lambda limit: lissa(dual_bytes=limit),
            lambda limit: lissa(dual_bytes=limit, batch_size=None, repeat=1),
            lambda limit: lissa(dual_bytes=limit, repeat=3),
        ],
        ids=["CG", "LiSSA", "LiSSA, full batch", "LiSSA, three repeats"],
    )
    def test_give_the_same_scores(self, make, task, network):
        question = problem(task, network)
        dual, primal = make(2**30), make(0)
        scores = attribute(question, dual), attribute(question, primal)
        assert (dual.diagnostics["path"], primal.diagnostics["path"]) == ("dual", "primal")
        np.testing.assert_allclose(*scores, rtol=1e-8, atol=1e-10 * np.abs(scores[0]).max())

    def test_conjugate_gradients_take_the_same_steps(self):
        """Stopped in the middle, both are equally far: the iterations are the same, not only their limit."""
        pair = []
        for limit in (2**30, 0):
            method = ConjugateGradients(
                "CG", Damping(1, "lambda_0"), tolerance=1e-9, max_iterations=4, dual_bytes=limit
            )
            with pytest.warns(UserWarning, match="miss the relative residual"):
                pair.append((attribute(problem("classification"), method), method.diagnostics["residuals"]))
        np.testing.assert_allclose(pair[0][1], pair[1][1], rtol=1e-7)
        np.testing.assert_allclose(pair[0][0], pair[1][0], rtol=1e-7)

    def test_exact_stops_where_the_gram_does_not_fit(self):
        needed = gram_bytes(GradientSource(problem("classification")))
        assert needed == 46 * 46 * 8
        with pytest.raises(UserError, match=r"Exact-GN needs 1.58e-05 GiB for the dual of 23 training rows, more"):
            attribute(problem("classification"), ExactGaussNewton("Exact-GN", HALF, dual_bytes=needed - 1))
        attribute(problem("classification"), ExactGaussNewton("Exact-GN", HALF, dual_bytes=needed))


def test_one_decomposition_serves_every_damping():
    question = problem("classification")
    method = ExactGaussNewton("Exact-GN", HALF).fit(question)
    source = GradientSource(question)
    test, train = source(question.test), source(question.train.keep(question.left_out.rows))
    for damping in (0.01, 0.1, 3.0):
        scores = (method.damped(Damping(damping)) @ test).inner(train) / len(question.train)
        expected = reference.scores(question, dense.damped_inverse(dense.gauss_newton(question), damping))
        np.testing.assert_allclose(scores, expected, rtol=1e-9)


def test_digits_that_a_small_damping_costs_are_told():
    question = problem()
    method = ExactGaussNewton("Exact-GN", Damping(1e-14)).fit(question)
    assert "exact to" in method.notes["digits"]
    assert ExactGaussNewton("Exact-GN", HALF).fit(question).notes == {}


class TestNeumannSeries:
    @pytest.mark.parametrize("task", TASKS)
    def test_full_batches_have_a_closed_form(self, task):
        """h_T / s = Σ_{t ≤ T} (I − (G + λI)/s)^t / s, a filter of the eigenvalues."""
        question = problem(task)
        values, vectors = torch.linalg.eigh(dense.gauss_newton(question) + 0.5 * torch.eye(97 + 14 * (task[0] == "c")))
        filtered = (1 - (1 - values / SCALE) ** (DEPTH + 1)) / values
        expected = reference.scores(question, vectors @ torch.diag(filtered) @ vectors.T)
        np.testing.assert_allclose(attribute(question, lissa(batch_size=None)), expected, rtol=1e-9)

    def test_goes_to_the_dense_solution_with_depth(self):
        question = problem("classification")
        expected = reference.scores(question, dense.damped_inverse(dense.gauss_newton(question), 0.5))
        errors = [
            np.abs(attribute(question, lissa(batch_size=None, depth=depth)) - expected).max().item()
            for depth in (50, 200, 1000)
        ]
        assert errors[0] > 10 * errors[1] and errors[2] < 1e-9 * np.abs(expected).max()

    def test_hessian_of_a_convex_problem_goes_to_the_dense_solution(self):
        question = problem("classification", "linear")
        method = lissa("hessian", batch_size=None, depth=1000)
        expected = reference.scores(question, dense.damped_inverse(dense.hessian(question), 0.5))
        np.testing.assert_allclose(attribute(question, method), expected, rtol=1e-8)
        assert method.diagnostics["indefinite"] is False and "indefinite" not in method.notes

    @pytest.mark.parametrize("limit", [2**30, 0])
    def test_equals_the_recursion_one_vector_at_a_time(self, limit):
        question = problem("classification")
        test, train = reference.gradients(question)
        solved = [dense.influence_by_batches(question, g, batches(question), 0.5, SCALE) for g in test]
        expected = torch.stack(solved) @ train.T / len(question.train)
        np.testing.assert_allclose(attribute(question, lissa(dual_bytes=limit)), expected, rtol=1e-9)

    @pytest.mark.parametrize("limit", [2**30, 0])
    def test_the_smallest_scale_that_converges_is_found(self, limit):
        question = steeper(problem())
        top = torch.linalg.eigvalsh(dense.gauss_newton(question))[-1].item()
        damping, largest = top / 8, top * 9 / 8
        scales = [largest / 20, largest / 2.2, largest / 1.8, largest]
        method = lissa(scales=scales, batch_size=None, depth=200, dual_bytes=limit, damping=Damping(damping))
        scores = attribute(question, method)
        assert method.diagnostics["scales"] == {f"{scales[2]:g}": 4}
        expected = reference.scores(question, dense.damped_inverse(dense.gauss_newton(question), damping))
        np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())

    @pytest.mark.parametrize("batch_size", [None, 6])
    def test_where_no_scale_converges_the_scores_are_no_numbers(self, batch_size):
        method = lissa(scales=[1e-3, 2e-3], batch_size=batch_size)
        with pytest.warns(UserWarning, match=r"LiSSA: 4 of 4 gradients diverged with every scale \(0.001, 0.002\)"):
            scores = attribute(steeper(problem()), method)
        assert np.isnan(scores).all() and method.diagnostics["scales"] == {}

    def test_a_column_that_diverges_leaves_the_others_alone(self):
        """One test gradient without any part in the diverging directions: a step within the bound for it."""
        question = problem()
        matrix = dense.gauss_newton(question)
        values, vectors = torch.linalg.eigh(matrix)
        scale = float(values[-1] + 0.5) / 2.5
        g = reference.gradients(question)[0]
        g[2] = vectors[:, 0]
        method = lissa(scales=[scale, 10 * scale], batch_size=None, depth=60, dual_bytes=0).fit(question)
        rows = GradientSource(question, factored=False)(question.test).of_flat(g, question.parameters)
        solved = (method @ rows).flat()
        assert method.diagnostics["scales"] == {f"{scale:g}": 1, f"{10 * scale:g}": 3}
        expected = g[2] @ dense.damped_inverse(matrix, 0.5)
        np.testing.assert_allclose(solved[2], expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
        assert solved.isfinite().all()

    def test_an_indefinite_hessian_is_told(self):
        question = problem("classification", "mlp")
        lowest = torch.linalg.eigvalsh(dense.hessian(question))[0].item()
        assert lowest < 0
        method = lissa("hessian", "LiSSA-H", damping=Damping(-lowest / 2))
        scores = attribute(question, method)
        assert method.diagnostics["indefinite"] is True and np.isfinite(scores).all()
        assert (1 + 1e-9) * lowest <= method.diagnostics["lowest_ritz_value"] < 0.9 * lowest
        assert method.notes["indefinite"].startswith("H + λI is indefinite: H has a Ritz value of -")

    def test_a_given_scale_is_the_only_one(self):
        assert lissa(scales=[1, 2], scale=7).scales == [7]

    def test_in_single_precision(self):
        question = problem("classification")
        method = lissa(dtype="float32")
        assert method.dtype == torch.float32
        scores = attribute(question.to(dtype=torch.float32), method)
        np.testing.assert_allclose(scores, attribute(question, lissa()), rtol=1e-3)


@pytest.mark.parametrize("name", ["CG", "LiSSA", "LiSSA-H", "Exact-GN", "EK-FAC", "DataInf", "TRAK"])
def test_fitting_twice_gives_the_same(name):
    question, method = problem("classification"), METHODS[name].make()
    np.testing.assert_array_equal(attribute(question, method), attribute(question, method))


@pytest.mark.parametrize("name", ["CG", "LiSSA"])
def test_a_dual_that_fits_in_float32_only(name):
    question = problem("classification", "mlp")
    makers = {
        "CG": lambda dual_bytes: ConjugateGradients("CG", Damping(1, "lambda_0"), dual_bytes=dual_bytes),
        "LiSSA": lambda dual_bytes: NeumannSeries(
            "LiSSA", "gauss_newton", Damping(1, "lambda_0"), 200, 5, [20], dual_bytes=dual_bytes
        ),
    }
    source = GradientSource(question)
    exact, narrow = (makers[name](gram_bytes(source, dtype)) for dtype in (torch.float64, torch.float32))
    expected, found = attribute(question, exact), attribute(question, narrow)
    assert (exact.diagnostics["path"], narrow.diagnostics["path"]) == ("dual", "dual in float32")
    assert narrow.notes["path"] == "dual in float32" and "path" not in exact.notes
    assert 0 < np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_what_a_dual_remembers_is_not_what_was_changed_since():
    question = problem("classification", "mlp")
    space = GaussNewtonFactor.of(GradientSource(question)).system(GradientSource(question)(question.test))
    vectors = space.rhs.clone()
    before = space.matvec(vectors)
    vectors.mul_(2)
    np.testing.assert_allclose(space.matvec(vectors), 2 * before, rtol=1e-12)
    np.testing.assert_allclose(space.inner(vectors, vectors), 4 * space.inner(space.rhs, space.rhs), rtol=1e-12)
