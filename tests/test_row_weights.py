"""Rows with weights: one of weight 2 is the row twice, one of weight 0 isn't there, in training and in all methods."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from methods import DRAWN, METHODS
from problems import Sentences, problem, text_problem
from test_objectives import OBJECTIVES, question

import fimo
from fimo.attribution import attribute
from fimo.gradients import GradientSource
from fimo.gradients.cotangents import of_curvature, of_fisher, of_loss, of_output
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.problem import Problem
from fimo.reference import further_training as training_reference
from fimo.reference import gradients as reference
from fimo.reference import tangents as reference_tangents

LEFT_OUT = (0, 3, 11, 22)
COUNTS = [2, 1, 1, 3, 0, 1, 1, 2, 1, 1, 1, 0, 1, 1, 1, 5, 1, 1, 0, 1, 1, 2, 1]
FRACTIONS = torch.linspace(0, 3, 23, dtype=torch.float64)
SGD = partial(torch.optim.SGD, lr=0.05)
SCHEMES = ("drop", "mask", "every_step")


def weighted(one, weights):
    """The problem with weights of its training rows."""
    return replace(one, train=one.train.weighted_by(torch.as_tensor(weights, dtype=torch.float64)))


def repeated(one):
    """The problem with each training row as often as it counts, and which of these rows are left out.

    A left-out row that doesn't count has no copy: a second copy of row 3 stands in its place.
    """
    index = torch.repeat_interleave(torch.arange(23), torch.tensor(COUNTS))
    sources = [(row, 0) if COUNTS[row] else (3, 1) for row in LEFT_OUT]
    copies = [int((index == row).nonzero()[nth]) for row, nth in sources]
    rows = one.train.keep(index)
    return replace(one, train=replace(rows, index=torch.arange(len(rows))), left_out=torch.tensor(copies))


# Rows in factors for all methods; as plain gradients for those that are quick.
CASES = [(name, "classification", "linear") for name in METHODS]
QUICK = [name for name in METHODS if not name.startswith(("LiSSA", "EK-FAC"))]
CASES += [(name, "regression", "convolutional") for name in QUICK]
CASES += [("EK-FAC", "regression", "mlp")]


@pytest.mark.parametrize("name, task, network", CASES)
def test_every_method_equals_its_explicit_matrix(name, task, network):
    method, one = METHODS[name], weighted(problem(task, network), FRACTIONS)
    expected = reference.scores(one, method.matrix(one)) if not method.unit else of_unit_length(one)
    scores = attribute(one, method.make())
    np.testing.assert_allclose(scores, expected, rtol=method.rtol, atol=method.rtol * np.abs(expected).max())


def of_unit_length(one):
    """Grad-Cos, where a row of weight 0 has no direction."""
    test, train = (rows / rows.norm(dim=1, keepdim=True) for rows in reference.gradients(one))
    return (test @ train.nan_to_num().T).numpy() / 23


# LiSSA's batches are of other rows there, and a row that is there twice has two draws.
ROWS_TWICE = [case for case in CASES if "LiSSA" not in case[0] and case[0] not in DRAWN]


@pytest.mark.parametrize("name, task, network", ROWS_TWICE)
def test_every_method_takes_a_row_of_weight_2_for_two_rows(name, task, network):
    """The truth is that of the repeated rows, which have no weights; n is the number of rows there."""
    method, one = METHODS[name], problem(task, network)
    twice = repeated(one)
    share = len(twice.train) / 23
    counts = np.array([COUNTS[row] for row in LEFT_OUT])
    factor = {"Grad-Dot": counts * share, "Grad-Cos": (counts > 0) * share}.get(name, counts)
    expected = factor * reference.scores(twice, method.matrix(twice), method.unit)
    scores = attribute(weighted(one, COUNTS), method.make())
    np.testing.assert_allclose(scores, expected, rtol=method.rtol, atol=method.rtol * np.abs(expected).max())
    assert (scores[:, 2] == 0).all()


@pytest.mark.parametrize("name", ["unrolled_gn", "unrolled_gn_moved", "matched_gn", "exact_gn"])
def test_methods_that_know_further_training_do_too(name):
    """Full-batch steps on n rows of mean weight w are those of w times the rate on the repeated rows."""
    one = problem("classification", "linear")
    twice = repeated(one)
    share = len(twice.train) / 23
    options = {"epochs": 30, "batch_size": 100, "evaluate_every": 10, "dtype": torch.float64}
    scores, expected = (
        fimo.attribute(rows, [name], fimo.FurtherTraining(torch.optim.SGD, lr=rate, **options))
        for rows, rate in ((weighted(one, COUNTS), 0.1), (twice, 0.1 * share))
    )
    (scores,), (expected,) = scores.values(), expected.values()
    expected = expected.values * np.array([COUNTS[row] for row in LEFT_OUT])
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_primal_products_know_weights():
    """Those of curvlinops, for the Gauss–Newton matrix."""
    one = weighted(problem("classification"), FRACTIONS)
    dual, primal = (
        attribute(one, ConjugateGradients("CG", Damping(1, "lambda_0"), tolerance=1e-12, dual_bytes=size))
        for size in (2**30, 0)
    )
    np.testing.assert_allclose(primal, dual, rtol=1e-6, atol=1e-8 * np.abs(dual).max())


class Twice(torch.nn.Module):
    """Its weight is used once more than its module is called."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(5, 3)

    def forward(self, inputs):
        return self.head(inputs) + inputs.square() @ self.head.weight.T


def test_rows_of_weight_0_hide_no_wrong_factors():
    one = problem("classification")
    one = weighted(Problem(Twice().double(), one.objective, one.train, one.test, LEFT_OUT), [0, 0, *[1] * 21])
    assert not GradientSource(one).factored


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective(name):
    """A loss and its gradient have the factor w, what is squared in a curvature √w."""
    plain = question(name)
    one, w = weighted(plain, FRACTIONS), FRACTIONS
    outputs = plain.outputs(plain.parameters, plain.train.inputs)
    losses = plain.losses(plain.parameters, plain.train)
    torch.testing.assert_close(one.losses(one.parameters, one.train), w * losses, rtol=1e-14, atol=0)
    for of, factor in ((of_loss, w), (of_fisher, w.sqrt()), (of_curvature, w.sqrt()), (of_output, w.sqrt())):
        expected = factor[:, None, None] * of(plain.objective, outputs, plain.train.targets)
        torch.testing.assert_close(of(one.objective, outputs, one.train.targets), expected, rtol=1e-13, atol=1e-15)
    assert repr(one.objective) == repr(plain.objective)
    assert one.objective.metrics(outputs, one.train.targets) == plain.objective.metrics(outputs, plain.train.targets)


@pytest.mark.parametrize("measurement", [None, fimo.margin])
def test_what_is_watched_has_no_weights(measurement):
    plain = replace(problem("classification"), measurement=measurement)
    one = weighted(plain, FRACTIONS)
    own = replace(one, test=one.train)  # each row's influence on itself
    expected = plain.measured(plain.parameters, plain.train)
    torch.testing.assert_close(own.measured(own.parameters, own.train), expected, rtol=0, atol=0)
    torch.testing.assert_close(
        one.measured(one.parameters, one.test), plain.measured(plain.parameters, plain.test), rtol=0, atol=0
    )
    for rows, of in ((plain.train, one.losses), (plain.test, one.measured)):  # rows without weights
        alone = plain.losses if rows is plain.train else plain.measured
        torch.testing.assert_close(of(one.parameters, rows), alone(plain.parameters, rows), rtol=0, atol=0)
    scores = attribute(own, METHODS["Grad-Dot"].make())
    expected = (
        attribute(replace(plain, test=plain.train), METHODS["Grad-Dot"].make()) * FRACTIONS[list(LEFT_OUT)].numpy()
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-15)


def losses_of_plain_steps(one, weights, without, scheme, steps, lr):
    """Test losses after full-batch steps with explicit weights, of rows that have none."""
    network, n = copy.deepcopy(one.network), 23
    coefficients, left = torch.as_tensor(weights).double().clone(), without is not None
    if left:
        coefficients[without] = 0
    for _ in range(steps):
        losses = one.objective.loss(network(one.train.inputs), one.train.targets)
        total = (coefficients * losses).sum() / (n - 1 if left and scheme == "drop" else n)
        gradients = torch.autograd.grad(total, list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.sub_(lr * gradient)
    return one.objective.loss(network(one.test.inputs), one.test.targets).detach()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_gold_standard_descends_the_weighted_loss(scheme, task):
    plain = problem(task)
    training = fimo.FurtherTraining(SGD, epochs=4, batch_size=23, leave_out=scheme, dtype=torch.float64)
    gold = fimo.further_train(weighted(plain, FRACTIONS), training, seeds=1)
    full = losses_of_plain_steps(plain, FRACTIONS, None, scheme, 4, 0.05)
    np.testing.assert_allclose(gold["loss_full"][0, -1], full, rtol=1e-12)
    for place, row in enumerate(LEFT_OUT):
        expected = losses_of_plain_steps(plain, FRACTIONS, row, scheme, 4, 0.05)
        np.testing.assert_allclose(gold["loss_left_out"][0, -1, :, place], expected, rtol=1e-12)


@pytest.mark.parametrize("scheme", ["mask", "every_step"])
def test_leaving_a_row_of_weight_2_out_is_leaving_both_copies_out(scheme):
    """Full-batch steps; a row of weight 0 has no copy, and leaving it out changes nothing."""
    one = problem("classification")
    copies = torch.repeat_interleave(torch.arange(23), torch.tensor(COUNTS))
    groups = [(copies == row).nonzero().flatten().tolist() for row in LEFT_OUT if COUNTS[row]]
    twice = replace(repeated(one), left_out=groups)
    options = {"epochs": 5, "batch_size": 100, "leave_out": scheme, "dtype": torch.float64}
    gold, expected = (
        fimo.further_train(rows, fimo.FurtherTraining(torch.optim.SGD, lr=rate, **options), seeds=1)
        for rows, rate in ((weighted(one, COUNTS), 0.1), (twice, 0.1 * len(copies) / 23))
    )
    np.testing.assert_allclose(gold["loss_full"], expected["loss_full"], rtol=1e-12)
    np.testing.assert_allclose(gold["loss_left_out"][..., [0, 1, 3]], expected["loss_left_out"], rtol=1e-12)
    np.testing.assert_allclose(gold["loss_left_out"][..., 2], gold["loss_full"], rtol=1e-13)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_batches_of_further_training_equal_the_plain_loop(scheme):
    one = weighted(problem("classification"), FRACTIONS)
    training = fimo.FurtherTraining(torch.optim.Adam, lr=0.01, epochs=2, batch_size=8, leave_out=scheme, clip=0.5)
    gold = fimo.further_train(one, replace(training, dtype=torch.float64), seeds=1)
    loop = training_reference.gold_standard(one, partial(torch.optim.Adam, lr=0.01), 2, 8, scheme, seed=0, clip=0.5)
    for values, expected in zip((gold["loss_before"], gold["loss_full"], gold["loss_left_out"]), loop, strict=True):
        np.testing.assert_allclose(values[0], expected, rtol=1e-11)


def test_tangents_are_derivatives_of_the_weighted_run():
    one = weighted(problem("classification"), FRACTIONS)
    training = fimo.FurtherTraining(SGD, epochs=2, batch_size=8, dtype=torch.float64, tangents=True)
    effect = fimo.further_train(one, training, seeds=1)["effect"][0]
    expected = reference_tangents.effects(one, SGD, 2, 8, 0)
    np.testing.assert_allclose(effect, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("one", [problem("classification"), text_problem(lambda k: Sentences(k, dropout=0.0))])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_of_one_change_nothing(one, scheme):
    """23 and 17 rows in batches of 8: also in the last one."""
    training = fimo.FurtherTraining(SGD, epochs=2, batch_size=8, leave_out=scheme)
    usual, ones = (
        fimo.further_train(each.to(dtype=torch.float32), training, seeds=1)
        for each in (one, weighted(one, torch.ones(len(one.train))))
    )
    for name in ("loss_before", "loss_full", "loss_left_out"):
        np.testing.assert_array_equal(ones[name], usual[name])


@pytest.mark.parametrize("name", METHODS)
def test_weights_of_one_change_no_score(name):
    one, make = problem("classification", "linear"), METHODS[name].make
    scores, expected = attribute(weighted(one, torch.ones(23)), make()), attribute(one, make())
    np.testing.assert_allclose(scores, expected, rtol=1e-11, atol=1e-13 * np.abs(expected).max())
