"""What is watched at test examples in place of the loss: scores, further training and tangents, against plain loops."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from methods import METHODS
from problems import problem

import fimo
from fimo.attribution import attribute
from fimo.problem import Problem
from fimo.reference import further_training as training_reference
from fimo.reference import gradients as reference
from fimo.reference import tangents as reference_tangents

SGD = partial(torch.optim.SGD, lr=0.05)


def first(outputs, targets):
    """A caller's own."""
    return outputs[:, 0] ** 2


MEASUREMENTS = {
    "margin": fimo.margin,
    "logit": fimo.logit,
    "probability": fimo.probability,
    "another loss": fimo.CrossEntropy(label_smoothing=0.3),
    "own": first,
}


def question(name, network="mlp"):
    one = problem("classification", network)
    return Problem(one.network, one.objective, one.train, one.test, one.left_out, measurement=MEASUREMENTS[name])


@pytest.mark.parametrize("method, name", [*((method, "margin") for method in METHODS), ("CG", "own"), ("TRAK", "own")])
def test_every_method_takes_its_gradient_at_the_test_side_only(method, name):
    known, one = METHODS[method], question(name)
    expected = reference.scores(one, known.matrix(one), known.unit)
    scores = attribute(one, known.make())
    np.testing.assert_allclose(scores, expected, rtol=10 * known.rtol, atol=10 * known.rtol * np.abs(expected).max())
    usual = attribute(problem("classification"), known.make())
    assert np.abs(scores - usual).max() > 1e-3 * np.abs(usual).max()


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_the_gold_standard_watches_it_and_trains_as_before(name):
    one = question(name)
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=2, batch_size=8, dtype=torch.float64)
    gold = fimo.further_train(one, training, seeds=1)
    loop = training_reference.gold_standard(one, SGD, 2, 8, "every_step", seed=0)
    for values, expected in zip((gold["loss_before"], gold["loss_full"], gold["loss_left_out"]), loop, strict=True):
        np.testing.assert_allclose(values[0], expected, rtol=1e-11)
    plain = one.watched.loss(one.outputs(one.parameters, one.test.inputs), one.test.targets)
    np.testing.assert_allclose(gold["loss_before"][0], plain.detach(), rtol=1e-12)


@pytest.mark.parametrize("name", ["margin", "own"])
def test_tangents_are_its_derivatives(name):
    one = question(name)
    settings = {"epochs": 2, "batch_size": 8, "dtype": torch.float64, "tangents": True}
    found = fimo.further_train(one, fimo.FurtherTraining(torch.optim.SGD, lr=0.05, **settings), seeds=1)["effect"][0]
    expected = reference_tangents.effects(one, SGD, 2, 8, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_one_step_of_further_training_is_its_first_order_score():
    """Fixes the sign: where leaving the example out raises the margin, the score is positive."""
    one, lr = question("margin"), 1e-6
    training = fimo.FurtherTraining(torch.optim.SGD, lr=lr, epochs=1, batch_size=len(one.train), dtype=torch.float64)
    gold = fimo.further_train(one, training, seeds=1)
    effect = (gold["loss_left_out"] - gold["loss_full"])[0, 0]
    np.testing.assert_allclose(effect / lr, attribute(one, METHODS["Grad-Dot"].make()), rtol=1e-3)


def test_the_margin_of_a_sure_class():
    outputs = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
    targets = torch.tensor([0, 2])
    p = torch.softmax(outputs, 1)[[0, 1], targets]
    torch.testing.assert_close(fimo.margin(outputs, targets), torch.log(p) - torch.log(1 - p))
    torch.testing.assert_close(fimo.probability(outputs, targets), p)
    assert fimo.logit(outputs, targets).tolist() == [2, -1]


def test_the_objective_is_watched_where_nothing_else_is():
    one = problem("classification")
    assert one.measurement is None and one.watched is one.objective
    other = fimo.CrossEntropy(label_smoothing=0.1)
    assert replace(one, objective=other).watched is other


def test_seeds_of_another_measurement_are_not_found_again(tmp_path):
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=1, batch_size=8)
    for name in MEASUREMENTS:
        fimo.further_train(question(name), training, seeds=1, folder=tmp_path)
    assert len(list(tmp_path.rglob("seed-00000.nc"))) == len(MEASUREMENTS)


@pytest.mark.parametrize(
    "task, measurement, text",
    [
        ("regression", fimo.margin, "The measurement margin is that of a class among several: it needs class numbers"),
        ("regression", fimo.probability, "The measurement probability is that of a class"),
        ("classification", lambda f, y: f, r"must give a number for each row, \[4\], found \[4, 3\]"),
        ("classification", 3, "must be one of fimo's"),
    ],
)
def test_what_can_t_be_measured(task, measurement, text):
    one = problem(task)
    with pytest.raises(fimo.UserError, match=text):
        Problem(one.network, one.objective, one.train, one.test, [0], measurement=measurement)
