"""Conjugate gradients: residuals, columns that finish at different times, what is told."""

import numpy as np
import pytest
import torch
from methods import HALF
from problems import problem, text_problem

from fimo.attribution import attribute
from fimo.curvature.products import PrimalCurvature
from fimo.errors import UserError
from fimo.gradients import GradientSource
from fimo.gradients.diagonal_metric import AdamMetric
from fimo.preconditioners import conjugate_gradients
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.layerwise_inverse import LayerwiseInverse
from fimo.reference import gradients as reference
from fimo.reference import methods as dense

TASKS = ["regression", "classification"]


@pytest.mark.parametrize("limit", [2**30, 0])
def test_the_residuals_told_are_those_of_the_solution(limit):
    question = problem("classification")
    method = ConjugateGradients("CG", Damping(1, "lambda_0"), tolerance=1e-4, dual_bytes=limit)
    attribute(question, method)
    told = np.array(method.diagnostics["residuals"])
    assert len(told) == 4 and (told <= 1.1e-4).all() and (told > 1e-12).all()


def test_each_column_reaches_the_tolerance_whatever_the_others_need():
    """An easy column (in an eigenvector's direction) among hard ones."""
    question = problem("regression")
    matrix = dense.gauss_newton(question) + dense.lambda_0(question) * torch.eye(97, dtype=torch.float64)
    method = ConjugateGradients("CG", Damping(1, "lambda_0"), tolerance=1e-8, dual_bytes=0).fit(question)
    g = reference.gradients(question)[0]
    g[1] = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    rows = GradientSource(question, factored=False)(question.test).of_flat(g, question.parameters)
    solved = (method @ rows).flat()
    residuals = torch.linalg.norm(g - solved @ matrix, dim=1) / torch.linalg.norm(g, dim=1)
    assert (residuals <= 1e-8).all()
    np.testing.assert_allclose(method.diagnostics["residuals"], residuals, rtol=1e-4, atol=1e-14)


def test_a_zero_gradient():
    question = problem(network="linear")
    with torch.no_grad():
        question.test.targets[0] = question.network(question.test.inputs[:1])[0]
    method = ConjugateGradients("CG", HALF)
    assert (attribute(question, method)[0] == 0).all() and method.diagnostics["residuals"][0] == 0


@pytest.mark.parametrize("task", TASKS)
def test_in_single_precision_it_starts_anew_from_the_true_residual(task, monkeypatch):
    residuals = []
    for rounds in (1, conjugate_gradients.ROUNDS):
        monkeypatch.setattr(conjugate_gradients, "ROUNDS", rounds)
        method = ConjugateGradients("CG", Damping(0.01, "lambda_0"), tolerance=1e-5, dual_bytes=0)
        attribute(problem(task).to(dtype=torch.float32), method)
        residuals.append(max(method.diagnostics["residuals"]))
    assert residuals[0] > 1e-4 and residuals[1] <= 1e-5


def test_a_missed_tolerance_is_told():
    method = ConjugateGradients("CG", Damping(1e-6, "lambda_0"), tolerance=1e-10, max_iterations=1)
    text = r"4 of 4 gradients miss the relative residual 1e-10 after 1 iterations, the worst with .*: raise"
    with pytest.warns(UserWarning, match=text):
        attribute(problem(), method)
    assert len(method.notes) == 1 and max(method.diagnostics["residuals"]) > 1e-10


@pytest.mark.parametrize("metric", [None, AdamMetric(8, 1e-3)])
@pytest.mark.parametrize("network", ["mlp", "convolutional", "text"])
def test_with_a_preconditioner_the_scores_are_the_same(network, metric):
    question = text_problem() if network == "text" else problem("classification", network)
    scores = {}
    for name in conjugate_gradients.PRECONDITIONERS:
        method = ConjugateGradients(
            "CG", Damping(1, "lambda_0"), 1e-9, dual_bytes=0, metric=metric, preconditioner=name
        )
        scores[name] = attribute(question, method)
        assert max(method.diagnostics["residuals"]) <= 1.1e-9
    np.testing.assert_allclose(scores["ekfac"], scores["none"], rtol=1e-6, atol=1e-7 * np.abs(scores["none"]).max())


def test_where_ekfac_is_exact_one_step_is_enough():
    """Of a linear model G is a Kronecker product."""
    question = problem("regression", "linear")
    steps = []
    for name in conjugate_gradients.PRECONDITIONERS:
        damping = Damping(1e-3, "lambda_0")
        method = ConjugateGradients("CG", damping, 1e-9, dual_bytes=0, preconditioner=name)
        attribute(question, method)
        steps.append(method.diagnostics["iterations"])
    assert steps[0] > 4 and steps[1] <= 2, steps


def test_the_preconditioner_is_the_inverse_of_its_matrix():
    """By layer, Q(Λ + λ)Qᵀ; the mean of the diagonal + λ in an embedding, which has no Kronecker factors."""
    question = text_problem()
    curvature = PrimalCurvature(question, "gauss_newton")
    inverse = LayerwiseInverse.of(question, curvature, 0.5, None)
    found = inverse(torch.eye(question.size, dtype=torch.float64))
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    rows, G = list(question.parameters), dense.gauss_newton(question)
    ends = np.cumsum([0, *(p.numel() for p in question.parameters.values())])
    places = {name: slice(*ends[[k, k + 1]]) for k, name in enumerate(rows)}
    for name in inverse.diagonal:
        some = G[places[name], places[name]].diagonal()
        np.testing.assert_allclose(
            found[places[name], places[name]], torch.eye(len(some)) / (some.mean() + 0.5), atol=1e-12
        )
    assert inverse.diagonal and inverse.layers
    for basis, damped in inverse.layers:
        (weight, *bias), (out, fan_in) = basis.names, damped.shape
        Q = torch.kron(basis.left, basis.right)  # of the matrix with the bias behind it, row by row
        expected = (Q / damped.flatten()) @ Q.T
        own = expected.reshape(out, fan_in, out, fan_in)[:, : fan_in - len(bias), :, : fan_in - len(bias)]
        size = out * (fan_in - len(bias))
        np.testing.assert_allclose(found[places[weight], places[weight]], own.reshape(size, size), atol=1e-10)
        rotated = Q.T @ torch.linalg.inv(expected) @ Q
        np.testing.assert_allclose(rotated.diagonal(), damped.flatten(), rtol=1e-9)


def test_the_dual_needs_no_preconditioner():
    question = problem("classification")
    plain, other = (ConjugateGradients("CG", HALF, preconditioner=name) for name in ("none", "ekfac"))
    np.testing.assert_array_equal(attribute(question, plain), attribute(question, other))
    assert other.approximate is None


def test_a_preconditioner_that_is_not_known():
    with pytest.raises(UserError, match="preconditioner of CG must be none or ekfac, found 'jacobi'"):
        ConjugateGradients("CG", HALF, preconditioner="jacobi")


@pytest.mark.parametrize("name, limit, noted", [("ekfac", 2**30, True), ("ekfac", 0, False), ("none", 2**30, False)])
def test_a_preconditioner_without_effect_is_noted(name, limit, noted):
    method = ConjugateGradients("CG", HALF, preconditioner=name, dual_bytes=limit)
    attribute(problem("classification"), method)
    assert ("the preconditioner ekfac had no effect" in " ".join(method.notes.values())) == noted
