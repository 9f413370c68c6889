"""Scores are held against the gold standard of the same problem: others are refused in a sentence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import fimo


@pytest.fixture
def problem():
    inputs = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    train, test = ((inputs[part], (inputs[part, 0] > 0).long()) for part in (slice(0, 34), slice(34, None)))
    return fimo.Problem(nn.Linear(5, 2), fimo.CrossEntropy(), train, test, left_out=range(0, 30, 5))


@pytest.fixture
def training():
    return fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=2, batch_size=16)


def test_scores_of_other_examples_are_refused(problem, training):
    gold = fimo.further_train(problem, training, seeds=1)
    scores = fimo.attribute(problem, "grad_dot")
    with pytest.raises(fimo.UserError, match="must be about the same left_out examples"):
        fimo.compare({"Grad-Dot": scores["Grad-Dot"].isel(left_out=slice(3))}, gold)


def test_a_row_that_is_left_out_twice_is_refused_at_once(problem, training):
    with pytest.raises(fimo.UserError, match="left_out must name each training row once, found 3 twice"):
        replace(problem, left_out=[3, 3, 5])
    gold = fimo.further_train(replace(problem, left_out=[3, 5]), training, seeds=1)
    score = fimo.attribute(replace(problem, left_out=[3, 5]), "grad_dot")["Grad-Dot"].isel(left_out=[0, 0, 1])
    with pytest.raises(fimo.UserError, match="must be left out once each, found training row 3 twice"):
        fimo.compare({"Grad-Dot": score}, gold.isel(left_out=[0, 0, 1]))


@pytest.mark.parametrize(
    "given, other, what",
    [
        ({"left_out": [[0, 3], [1], [2]]}, {"left_out": [[4, 5], [1], [2]]}, "leave out the same groups"),
        ({"left_out": [0, 1, 2]}, {"left_out": [0, 1, 2], "measurement": fimo.margin}, "watch the same measurement"),
    ],
)
def test_scores_of_another_problem_are_refused(problem, training, given, other, what):
    same = problem.network, fimo.CrossEntropy(), problem.train, problem.test
    ours, theirs = (fimo.Problem(*same, **one) for one in (given, other))
    gold, scores = fimo.further_train(ours, training, seeds=1), fimo.attribute(ours, "grad_dot")
    assert len(fimo.compare(scores, gold).curves)
    assert len(fimo.compare({"mine": scores["Grad-Dot"].drop_attrs()}, gold).curves)
    with pytest.raises(fimo.UserError, match=f"The scores of Grad-Dot and the gold standard must {what}: they are of"):
        fimo.compare(fimo.attribute(theirs, "grad_dot"), gold)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda score: score + 1j, r"scores\['mine'\] must be real numbers in an xarray.DataArray \[test, left_out\]"),
        (lambda score: score.expand_dims(foo=2), r"scores\['mine'\] must be real numbers in an xarray.DataArray"),
        (lambda score: score.where(score["test"] > 0, np.inf), "scores of mine must be finite, or NaN where there is"),
    ],
    ids=["complex", "another axis", "infinite"],
)
def test_scores_that_are_no_real_numbers(problem, training, change, message):
    gold, scores = fimo.further_train(problem, training, seeds=1), fimo.attribute(problem, "grad_dot")
    with pytest.raises(fimo.UserError, match=message):
        fimo.compare({"mine": change(scores["Grad-Dot"])}, gold)


def test_scores_that_are_missing_are_said(problem, training, caplog):
    gold, score = fimo.further_train(problem, training, seeds=1), fimo.attribute(problem, "grad_dot")["Grad-Dot"]
    missing = score.where((score["test"] > 0) | (score["left_out"] > 5))
    with caplog.at_level("WARNING", "fimo"):
        compared = fimo.compare({"mine": missing}, gold)
    assert "scores of mine have no number for some left-out examples at 1 of the test examples" in caplog.text
    assert set(compared.curves["n_test"]) == {5}


def test_labelled_scores_in_another_order_are_put_in_order(problem, training):
    gold, scores = fimo.further_train(problem, training, seeds=1), fimo.attribute(problem, "grad_dot")
    other = scores["Grad-Dot"].isel(left_out=[3, 0, 5, 1, 4, 2], test=slice(None, None, -1)).drop_attrs()
    expected = fimo.compare(scores, gold).curves
    assert fimo.compare({"Grad-Dot": other}, gold).curves.equals(expected)


def test_scores_of_another_model_or_training_are_refused(problem, training):
    gold, network = fimo.further_train(problem, training, seeds=1), nn.Linear(5, 2)
    same = problem.train, problem.test, problem.left_out
    for other in (
        fimo.Problem(network, fimo.CrossEntropy(), *same),
        fimo.Problem(problem.network, fimo.CrossEntropy(), *same, parameters=["bias"]),
        replace(problem, train=replace(problem.train, targets=1 - problem.train.targets)),
    ):
        with pytest.raises(fimo.UserError, match=r"must be of the same final model, the same parameters \(θ\) and the"):
            fimo.compare(fimo.attribute(other, "grad_dot"), gold)
    faster = fimo.FurtherTraining(torch.optim.SGD, lr=0.5, epochs=2, batch_size=16)
    scores = fimo.attribute(problem, ["grad_dot", "unrolled_gn"], faster)
    with pytest.raises(fimo.UserError, match=r"of Unrolled-GN .* same further training, found SGD \(lr=0.5\), batches"):
        fimo.compare(scores, gold)
    assert len(fimo.compare({"Grad-Dot": scores["Grad-Dot"]}, gold).curves)
