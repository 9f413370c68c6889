"""Gradients that are made anew, some parameters at a time, are those that are held."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from methods import METHODS
from problems import problem, text_problem
from recursions import recursion

from fimo.attribution import attribute
from fimo.curvature.gauss_newton_factor import GaussNewtonFactor
from fimo.gradients import GradientSource, verified
from fimo.gradients.cotangents import of_curvature, of_loss
from fimo.gradients.diagonal_metric import DiagonalMetric
from fimo.gradients.recomputed import RecomputedGradients
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

QUESTIONS = {
    "mlp": lambda: problem("classification", "mlp"),
    "convolutional": lambda: problem("classification", "convolutional"),
    "transformer": lambda: problem("classification", "transformer"),  # dense
    "text": text_problem,
}
SOLVERS = {name: METHODS[name].make for name in ("CG", "LiSSA", "Exact-GN", "CG (empirical Fisher)")}
SOLVERS["Unrolled-GN"] = lambda: UnrolledGaussNewton("Unrolled-GN").for_training(recursion([3]))
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
# All parameters and rows at once; a parameter tensor at a time; and a row at a time of each.
BYTES = {"at once": 2**30, "some parameters": 2500, "row by row": 1}


@pytest.fixture(params=QUESTIONS)
def question(request):
    whole = QUESTIONS[request.param]()
    train, test = whole.train.keep(slice(0, 5)), whole.test.keep(slice(0, 2))
    return replace(whole, train=train, test=test, left_out=torch.tensor([0, 3]))


@pytest.mark.parametrize("metric", [False, True])
@pytest.mark.parametrize(
    "most_bytes", ["at once", "some parameters", pytest.param("row by row", marks=pytest.mark.slow)]
)
def test_all_that_gradients_can_do(question, most_bytes, metric):
    if most_bytes == "row by row":  # it takes very many passes
        question = replace(question, train=question.train.keep(slice(0, 2)), left_out=torch.tensor([0]))
    coordinates = DiagonalMetric.of_batches(question, 5, 1e-3).gradients if metric else None
    source = GradientSource(question, coordinates=coordinates)
    train, test = source(question.train, of_curvature), source(question.test)
    anew = RecomputedGradients.of(source, question.train, of_curvature, BYTES[most_bytes])
    tests = RecomputedGradients.of(source, question.test, of_loss, BYTES[most_bytes])
    assert (len(anew.groups) == 1) == (most_bytes == "at once") and anew.held_bytes == 0
    assert (anew.groups[0].at_most == 1) == (most_bytes == "row by row")
    assert set(anew.names) == set(train.names)
    expected = train.inner(test)
    for found in (anew.inner(test), anew.inner(replace(tests, groups=anew.groups))):
        np.testing.assert_allclose(found, expected, **CLOSE)
    np.testing.assert_allclose(anew.inner(anew), train.inner(train), **CLOSE)
    for by_name in ("squares", "row_sums", "row_square_sums", "inner_per_parameter"):
        arguments = [test] if by_name == "inner_per_parameter" else []
        ours, theirs = (getattr(rows, by_name)(*arguments) for rows in (anew, train))
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            np.testing.assert_allclose(ours[name], values, **CLOSE)
    np.testing.assert_allclose(anew.norms(), train.norms(), **CLOSE)
    factors = torch.rand(len(train.norms()), dtype=torch.float64)
    twice = anew.scaled(factors).scaled(factors)
    np.testing.assert_allclose(twice.inner(test), factors[:, None] ** 2 * expected, **CLOSE)
    both = anew.joined([twice])
    np.testing.assert_allclose(both.inner(test), torch.cat([expected, factors[:, None] ** 2 * expected]), **CLOSE)
    np.testing.assert_allclose(both.inner(both), both.inner(both).T, **CLOSE)
    mixed = torch.rand(2, len(factors), dtype=torch.float64)
    np.testing.assert_allclose(anew.linear_combination(mixed).inner(test), mixed @ expected, **CLOSE)


def test_a_dual_that_is_not_held(question):
    source = GradientSource(question)
    held, anew = GaussNewtonFactor.of(source), GaussNewtonFactor.of(source, most_bytes=0)
    assert isinstance(anew.rows, RecomputedGradients) and not isinstance(held.rows, RecomputedGradients)
    np.testing.assert_allclose(anew.gram, held.gram, **CLOSE)


@pytest.mark.parametrize("block", [2500, 2**28])
@pytest.mark.parametrize("name", SOLVERS)
def test_scores_do_not_depend_on_what_is_held(question, name, block, monkeypatch):
    """As long as the Gram fits; the bound on what is held of the rows is smaller than any number of them."""
    expected = attribute(question, SOLVERS[name]())
    monkeypatch.setattr("fimo.curvature.gauss_newton_factor.BLOCK_BYTES", block)
    method = SOLVERS[name]()
    method.dual_bytes = 8 * (len(question.train) * (1 if "Fisher" in name else 3)) ** 2  # of the Gram
    found = attribute(question, method)
    assert method.diagnostics["path"] == "dual"
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())


@pytest.mark.usefixtures("together")
def test_factors_are_verified_group_by_group():
    """A layer whose factors are wrong for some row is not missed because others were looked at before."""
    question = problem("classification", "mlp")
    source = GradientSource(question)
    token = verified._computation.set(verified.Computation())
    try:
        anew = RecomputedGradients.of(source, question.train, of_loss, 1)
        anew.norms()
        layers = {names for seen in verified._computation.get().verified.values() for names, _ in seen}
        assert {name for names in layers for name in names} == set(source.factorisation.layers)
    finally:
        verified._computation.reset(token)
