"""Conjugate gradients: residuals, columns that finish at different times, what is told."""

import numpy as np
import pytest
import torch
from methods import HALF
from problems import problem

from fimo.attribution import attribute
from fimo.gradients import GradientSource
from fimo.preconditioners import conjugate_gradients
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
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
