"""METHODS × OBJECTIVES: any loss per example, its curvature and its further training, against explicit matrices."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from methods import METHODS
from problems import problem

import fimo
from fimo.attribution import attribute
from fimo.gradients.cotangents import of_curvature
from fimo.problem import Problem
from fimo.reference import further_training as training_reference
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.rows import Rows


def cauchy(outputs, targets):
    """A caller's own loss, whose curvature is negative far from the target."""
    return torch.log1p(2 * (outputs - targets).square()).mean(-1)


class Cauchy:
    loss = staticmethod(cauchy)


NUMBERS = {
    "absolute error": fimo.AbsoluteError(),
    "Huber": fimo.Huber(delta=0.7),
    "own": cauchy,
    "own object": Cauchy(),
}
CLASSES = {
    "weighted": fimo.CrossEntropy(weight=[0.5, 2.0, 1.0]),
    "smoothed": fimo.CrossEntropy(label_smoothing=0.2),
    "both": fimo.CrossEntropy(weight=[0.5, 2.0, 1.0], label_smoothing=0.1),
    "several labels": fimo.BinaryCrossEntropy(),
}
OBJECTIVES = NUMBERS | CLASSES
SGD = partial(torch.optim.SGD, lr=0.05)


def labels(rows):
    """Three of each row, 0 or 1."""
    return torch.stack([rows.targets == 0, rows.targets == 1, rows.inputs[:, 0] > 0], 1).to(rows.inputs.dtype)


def question(name, network="mlp", **options):
    """Three outputs for classes and labels, one for numbers."""
    one = problem("regression" if name in NUMBERS else "classification", network, **options)
    examples = {"train": one.train, "test": one.test}
    if name == "several labels":
        examples = {split: Rows(rows.inputs, labels(rows), rows.index) for split, rows in examples.items()}
    return Problem(one.network, OBJECTIVES[name], left_out=one.left_out, **examples)


# Every method on every loss (those by the empirical Fisher know gradients only), and other layers for one of them.
BY_HESSIAN = [method for method in METHODS if "empirical" not in method and "primal" not in method]
ALONE = ("weighted", "smoothed")  # slow, since "both" is weighted and smoothed
CASES = [
    pytest.param(method, name, "mlp", marks=[pytest.mark.slow] if name in ALONE else [])
    for method in BY_HESSIAN
    for name in OBJECTIVES
    if name not in ("own object", "both")
]
CASES += [(method, "own", "convolutional") for method in BY_HESSIAN if not METHODS[method].only]
CASES += [(method, "both", "mlp") for method in METHODS]


@pytest.mark.parametrize("method, name, network", CASES)
def test_every_method_equals_its_explicit_matrix(method, name, network):
    known, one = METHODS[method], question(name, network)
    expected = reference.scores(one, known.matrix(one), known.unit)
    scores = attribute(one, known.make())
    np.testing.assert_allclose(scores, expected, rtol=10 * known.rtol, atol=10 * known.rtol * np.abs(expected).max())


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("scheme", ["drop", "every_step"])
def test_further_training_equals_the_plain_loop(name, scheme):
    one = question(name)
    settings = {"epochs": 2, "batch_size": 8, "leave_out": scheme, "dtype": torch.float64}
    gold = fimo.further_train(one, fimo.FurtherTraining(torch.optim.SGD, lr=0.05, **settings), seeds=1)
    loop = training_reference.gold_standard(one, SGD, 2, 8, scheme, seed=0)
    for losses, expected in zip((gold["loss_before"], gold["loss_full"], gold["loss_left_out"]), loop, strict=True):
        np.testing.assert_allclose(losses[0], expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["own", "Huber", "weighted", "several labels"])
@pytest.mark.parametrize("limit", [2**30, 0])
def test_unrolled_training_equals_the_explicit_sum(name, limit):
    from recursions import recursion

    from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

    one = question(name)
    method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=limit).for_training(recursion([1, 7, 40]))
    scores = attribute(one, method)
    sums = dense.unrolled(dense.gauss_newton(one), [0.05] * 40)
    for step in (1, 7, 40):
        expected = reference.scores(one, sums[step - 1])
        np.testing.assert_allclose(scores.sel(step=step), expected, rtol=1e-7, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_root_is_that_of_the_positive_part(name):
    one = question(name)
    roots = of_curvature(one.objective, one.outputs(one.parameters, one.train.inputs).detach(), one.train.targets)
    expected = torch.stack([dense.output_hessian(one, k) for k in range(len(one.train))])
    torch.testing.assert_close(roots @ roots.mT, expected, rtol=1e-10, atol=1e-12)


def test_what_is_cut_off_or_put_in_its_place_is_noted():
    notes = {name: fimo.attribute(question(name), "cg")["CG"].attrs["notes"] for name in OBJECTIVES}
    assert any("is the positive part of the loss's Hessian in the outputs" in note for note in notes["own"])
    assert any("the empirical Fisher matrix: an absolute error has none" in note for note in notes["absolute error"])
    assert not any("curvature is" in note for name in ("Huber", *CLASSES) for note in notes[name])
    assert not fimo.attribute(question("own"), "grad_dot")["Grad-Dot"].attrs["notes"]


@pytest.mark.parametrize(
    "objective, text",
    [
        (3, "must be one of fimo's .*, a function loss.* found 3"),
        (fimo.CrossEntropy, r"found the class CrossEntropy: call it, CrossEntropy\(\)"),
        (
            lambda outputs, targets: (outputs - targets).square().mean(),
            r"must give a loss for each row, \[4\], found \[\]",
        ),
    ],
)
def test_what_is_no_objective(objective, text):
    one = problem()
    with pytest.raises(fimo.UserError, match=text):
        Problem(copy.deepcopy(one.network).float(), objective, one.train.to(dtype=torch.float32), one.test, [0])


@pytest.mark.parametrize(
    "make, text",
    [
        (
            lambda: fimo.CrossEntropy(weight=[-1.0, 1.0]),
            "weight of CrossEntropy must be a number of at least 0 for",
        ),
        (lambda: fimo.CrossEntropy(label_smoothing=1.0), "label_smoothing must be at least 0 and below 1, found 1.0"),
        (lambda: fimo.Huber(delta=0), "delta of Huber must be a number above 0, found 0"),
    ],
)
def test_settings_that_are_none(make, text):
    with pytest.raises(fimo.UserError, match=text):
        make()


def test_targets_are_looked_at():
    one = problem("classification", dtype=torch.float32)
    taken = partial(Problem, copy.deepcopy(one.network), test=one.test, left_out=[0])
    with pytest.raises(fimo.UserError, match="weight of CrossEntropy must have a number for each of 3 classes"):
        taken(fimo.CrossEntropy(weight=[1.0, 2.0]), train=one.train)
    pair = one.train.inputs, torch.randint(0, 3, (len(one.train), 3))
    with pytest.raises(fimo.UserError, match="must be 0 or 1 for each output, found other numbers"):
        taken(fimo.BinaryCrossEntropy(), train=pair)
    labels, tested = ((rows.inputs, (rows.inputs[:, :3] > 0).long()) for rows in (one.train, one.test))
    with pytest.raises(fimo.UserError, match="must be 0 or 1 for each output, found class numbers"):
        taken(fimo.BinaryCrossEntropy(), train=labels)  # the test examples' own are looked at too
    several = taken(fimo.BinaryCrossEntropy(), train=labels, test=tested)
    assert several.train.targets.dtype == torch.float32 and "accuracy" in several.objective.metrics(
        several.outputs(several.parameters, several.train.inputs), several.train.targets
    )


def power(outputs, targets, exponent):
    return (outputs - targets).abs().pow(exponent).mean(-1)


def test_seeds_of_another_loss_are_not_found_again(tmp_path):
    one, training = question("Huber"), fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=1, batch_size=8)
    losses = [
        fimo.Huber(0.7),
        fimo.Huber(0.8),
        cauchy,
        Cauchy(),
        partial(power, exponent=2),
        partial(power, exponent=4),
    ]
    for objective in losses:
        given = Problem(one.network, objective, one.train, one.test, one.left_out)
        fimo.further_train(given, training, seeds=1, folder=tmp_path)
    assert len(list(tmp_path.rglob("seed-00000.nc"))) == len(losses)
