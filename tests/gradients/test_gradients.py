"""Per-example gradients, two ways, against autograd one example at a time."""

import numpy as np
import pytest
import torch
from problems import NETWORKS, problem
from torch import nn

from fimo import vmapping
from fimo.gradients import PHI, GradientSource
from fimo.gradients.factored import factorisation_of
from fimo.reference import gradients as reference

TASKS = ["regression", "classification"]
LINEAR = ["mlp", "linear", "in-place", "unused"]


class Shared(nn.Module):
    """Two calls of one layer."""

    def __init__(self, outputs):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 5), nn.Linear(5, outputs)

    def forward(self, inputs):
        return self.head(torch.tanh(self.inner(torch.tanh(self.inner(inputs)))))


class Furtive(nn.Module):
    """Uses a layer's weight a second time, where no hook sees it."""

    def __init__(self, outputs):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 5), nn.Linear(5, outputs)

    def forward(self, inputs):
        return self.head(torch.tanh(self.inner(inputs)) + inputs @ self.inner.weight.T)


class Sequence(nn.Module):
    """A linear layer over a sequence: not a matrix."""

    def __init__(self, outputs):
        super().__init__()
        self.inner, self.head = nn.Linear(1, 3), nn.Linear(3, outputs)

    def forward(self, inputs):
        return self.head(torch.tanh(self.inner(inputs[..., None])).mean(1))


class Unused(nn.Module):
    """A layer that is called and plays no part in the outputs."""

    def __init__(self, outputs):
        super().__init__()
        self.aside, self.head = nn.Linear(5, 5), nn.Linear(5, outputs)

    def forward(self, inputs):
        self.aside(inputs)
        return self.head(inputs)


OTHERS = {"shared": Shared, "furtive": Furtive, "sequence": Sequence}
NETWORKS |= OTHERS | {"unused": Unused}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "network", [*LINEAR, "convolutional", "transformer", "transposed", "dropout", "vmap-shy", *OTHERS]
)
def test_both_ways_equal_autograd(task, network):
    question = problem(task, network)
    test, train = reference.gradients(question)
    rows = question.train.keep(question.left_out.rows)
    source = GradientSource(question)
    mostly_linear = ["convolutional", "sequence"] if task == "classification" else []  # their heads are larger then
    assert source.factored == (network in [*LINEAR, "dropout", "vmap-shy", *mostly_linear])
    for way in (source, GradientSource(question, factored=False)):
        g_test, g_train = way(question.test), way(rows)
        np.testing.assert_allclose(g_test.inner(g_train), test @ train.T, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(g_test.norms(), torch.linalg.norm(test, dim=1), rtol=1e-10)


def test_the_look_at_the_modules():
    for network, expected in {**dict.fromkeys(LINEAR, True), "convolutional": False, "shared": False}.items():
        question = problem(network=network)
        assert (factorisation_of(question.network, question.train[slice(0, 2)][0]) is not None) is expected


def test_unit_length():
    question = problem("classification")
    for factored in (True, False):
        unit = PHI["unit_length"](GradientSource(question, factored)(question.test))
        np.testing.assert_allclose(unit.norms(), 1, rtol=1e-12)
        np.testing.assert_allclose(unit.inner(unit).diagonal(), 1, rtol=1e-12)


def test_a_zero_gradient_stays_zero():
    question = problem(network="linear")
    with torch.no_grad():
        question.test.targets[0] = question.network(question.test.inputs[:1])[0]
    norms = PHI["unit_length"](GradientSource(question)(question.test)).norms()
    assert norms[0] == 0 and torch.isfinite(norms).all()


def test_a_loop_over_rows_is_warned_of_once(caplog, monkeypatch):
    monkeypatch.setattr(vmapping, "_warned", set())  # of other tests
    question = problem("classification", "vmap-shy", rows=19, left_out=[0])
    source = GradientSource(question, factored=False)
    for _ in range(2):
        source(question.train)
    (message,) = caplog.messages
    assert "per-example gradients of the network Shy are computed one after another, 19 calls in place of" in message
