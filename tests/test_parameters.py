"""A part of the parameters as θ: everything is of it alone, as in a plain loop with the rest frozen."""

from fnmatch import fnmatchcase
from functools import partial

import numpy as np
import pytest
import torch
from further_training.test_gold_standard import assert_same, sweep
from methods import METHODS
from problems import Sentences, problem, text_problem
from torch import nn

import fimo
from fimo.attribution import attribute
from fimo.gradients import GradientSource
from fimo.reference import further_training as training_reference
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.reference import tangents as reference_tangents

SCHEMES = ["drop", "mask", "every_step"]
DECAYING = {
    "sgd": partial(torch.optim.SGD, lr=0.02, momentum=0.9, weight_decay=0.1),
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
}
# A network, a choice, and patterns that name the same.
CHOICES = [
    ("mlp", "last_layer", ["linear_relu_stack.4.*"]),
    ("mlp", ["linear_relu_stack.2.*"], ["linear_relu_stack.2.*"]),
    ("mlp", "*.weight", ["*.weight"]),
    ("mlp", ["*.0.*", "last_layer"], ["linear_relu_stack.0.*", "linear_relu_stack.4.*"]),
    ("convolutional", "last_layer", ["head.*"]),
    ("convolutional", ["body.1.*", "head.weight"], ["body.1.*", "head.weight"]),
    ("transformer", ["value.*", "norm.weight", "head.bias"], ["value.*", "norm.weight", "head.bias"]),
    ("vmap-shy", "last_layer", ["*.2.*"]),
]
IDS = [f"{network}, {choice}" for network, choice, _ in CHOICES]
SENTENCES = ["value.*", "head.weight"]


def frozen_by_hand(question, patterns):
    """The problem of all parameters, whose network's others are frozen: what the plain loops go by."""
    for name, parameter in question.network.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in patterns))
    return question


def keep_statistics(question):
    """The plain loop would update the statistics that stay those of the final model."""
    for module in question.network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train = lambda mode=True, module=module: module.eval() and module
            module.eval = lambda module=module: nn.Module.train(module, False)
    return question


@pytest.mark.parametrize("network, choice, patterns", CHOICES, ids=IDS)
class TestEveryChoice:
    def test_theta_is_what_the_patterns_name(self, network, choice, patterns):
        question = problem("classification", network, parameters=choice)
        names = [n for n, _ in question.network.named_parameters() if any(fnmatchcase(n, p) for p in patterns)]
        assert list(question.parameters) == list(question.theta) == names
        assert question.size == sum(part.numel() for part in question.parameters.values())
        for other in (question.to(dtype=torch.float32), question.in_precision(torch.float32), question.sampled(5)):
            assert tuple(other.theta) == tuple(question.theta)
            assert [n for n, p in other.network.named_parameters() if p.requires_grad] == names

    def test_the_gold_standard_equals_the_plain_loop(self, network, choice, patterns):
        question = problem("classification", network, parameters=choice)
        plain = keep_statistics(frozen_by_hand(problem("classification", network), patterns))
        for scheme, (kind, optimizer) in [*zip(SCHEMES, [*DECAYING.items(), ("sgd", DECAYING["sgd"])], strict=True)]:
            clip = 0.5 if kind == "sgd" else None
            losses = sweep(question, optimizer=optimizer, leave_out=scheme, clip=clip)[0]
            expected = training_reference.gold_standard(plain, optimizer, 3, 8, scheme, seed=0, clip=clip)
            assert_same(losses, expected)

    def test_gradients_are_those_of_the_plain_loop(self, network, choice, patterns):
        question = problem("classification", network, parameters=choice)
        plain = frozen_by_hand(problem("classification", network), patterns)
        expected = torch.stack([reference.gradient(plain, *plain.train[torch.tensor(k)]) for k in range(5)])
        rows = question.train.keep(slice(0, 5))
        for source in (GradientSource(question), GradientSource(question, factored=False)):
            torch.testing.assert_close(source(rows).inner(source(rows)), expected @ expected.T, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(source(rows).flat(), expected, rtol=1e-12, atol=1e-14)
        assert GradientSource(question).lambda_0 == pytest.approx(dense.lambda_0(question), rel=1e-12)


# Layers with all of their parameters in θ and with some of them, in factors and as plain gradients.
FEW = [("mlp", ["*.0.*", "last_layer"]), ("convolutional", ["body.1.*", "head.weight"])]
COMPARED = [(name, *pair) for name, method in METHODS.items() for pair in FEW if pair[0] in (method.only or pair)]


@pytest.mark.parametrize("name, network, choice", [*COMPARED, ("EK-FAC", "mlp", "*.weight")])
def test_every_method_equals_its_matrix_over_theta(name, network, choice):
    method, question = METHODS[name], problem("classification", network, parameters=choice)
    scores = attribute(question, method.make())
    expected = reference.scores(question, method.matrix(question), method.unit)
    np.testing.assert_allclose(scores, expected, rtol=method.rtol, atol=method.rtol * np.abs(expected).max())


def test_curvature_over_theta_is_a_block_of_that_over_all():
    everything, part = problem("classification"), problem("classification", parameters="*.weight")
    chosen = torch.cat([torch.full((p.numel(),), name in part.theta) for name, p in everything.parameters.items()])
    assert 0 < int(chosen.sum()) == part.size < everything.size
    for matrix in (dense.gauss_newton, dense.empirical_fisher, dense.hessian):
        torch.testing.assert_close(matrix(part), matrix(everything)[chosen][:, chosen], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        dense.training_gradients(part), dense.training_gradients(everything)[:, chosen], rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("choice", [["linear_relu_stack.?.weight", "*.bias"], "*"])
def test_patterns_that_name_everything_are_all(choice):
    everything, chosen = problem("classification"), problem("classification", parameters=choice)
    assert tuple(chosen.theta) == tuple(everything.theta)
    for name in ("DataInf", "EK-FAC", "TRAK"):
        scores = [attribute(question, METHODS[name].make()) for question in (everything, chosen)]
        np.testing.assert_array_equal(*scores)
    losses = [sweep(question, optimizer=DECAYING["adamw"])[0] for question in (everything, chosen)]
    np.testing.assert_array_equal(*(one["loss_left_out"] for one in losses))


@pytest.mark.parametrize(
    "network, choice, optimizer",
    [("mlp", "last_layer", "adamw"), ("mlp", "*.weight", "sgd"), ("convolutional", ["head.*"], "sgd")],
)
def test_tangents_are_the_derivative(network, choice, optimizer):
    question = problem("classification", network, parameters=choice)
    optimizer = partial(DECAYING[optimizer], **({"eps": 0.01} if optimizer == "adamw" else {}))
    effects = sweep(question, seeds=[4], tangents=True, optimizer=optimizer)[4]["effect"]
    expected = reference_tangents.effects(keep_statistics(question), optimizer, 3, 8, 4)
    np.testing.assert_allclose(effects, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("choice", [SENTENCES, "last_layer"])
def test_sentences_equal_the_plain_loop(scheme, choice):
    question = text_problem(partial(Sentences, dropout=0.0), parameters=choice)
    patterns = SENTENCES if choice == SENTENCES else ["head.*"]
    plain = frozen_by_hand(text_problem(partial(Sentences, dropout=0.0)), patterns)
    losses = sweep(question, optimizer=DECAYING["adamw"], leave_out=scheme, batch_size=4)[0]
    assert_same(losses, training_reference.gold_standard(plain, DECAYING["adamw"], 3, 4, scheme, seed=0))


@pytest.mark.parametrize("network, choice", [("mlp", "*.weight"), ("convolutional", ["head.*"])])
def test_methods_that_know_further_training(network, choice):
    """Their coordinates, drifts and displaced gradients are of θ alone, with stored outputs too."""
    question = problem("classification", network, parameters=choice)
    G, D = dense.gauss_newton(question), dense.adam_scale(question, 23, 1e-8)
    expected = {
        "SGD": dense.unrolled(G, [0.05] * 2),
        "Adam": dense.adam_unrolled(G, D, [0.05] * 2, 0.9),
    }
    for kind, matrices in expected.items():
        settings = {"epochs": 2, "batch_size": 23, "evaluate_every": 1, "lr": 0.05}
        training = fimo.FurtherTraining(getattr(torch.optim, kind), **settings)
        scores = fimo.attribute(question, ["unrolled_gn", "unrolled_gn_moved"], training)
        values = np.stack([reference.scores(question, matrix) for matrix in matrices])
        np.testing.assert_allclose(scores["Unrolled-GN"], values, rtol=1e-9, atol=1e-10 * np.abs(values).max())
        assert np.isfinite(scores["Unrolled-GN (moved)"]).all()
