"""Addresses of problems from Python: whatever changes a number makes another one, and nothing else does."""

import random
from functools import partial

import pytest
import torch
from torch import nn

import fimo
from fimo.api.addresses import problem_config
from fimo.api.behaviour import behaviour

INPUTS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS[:, :1].sin()


class Network(nn.Module):
    """With an attribute, a buffer that is not stored, and a function that it was given."""

    def __init__(self, factor=1.0, shift=0.0, activation=torch.tanh, share=0.5):
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.factor, self.activation, self.share = nn.Linear(3, 1), factor, activation, share
        self.register_buffer("shift", torch.tensor(shift), persistent=False)
        self.calls = 0

    def forward(self, inputs):
        self.calls += 1
        outputs = self.activation(self.layer(inputs)) * self.factor + self.shift
        return nn.functional.dropout(outputs, self.share, self.training)


class Offset:
    """A measurement with a tensor too long to be printed."""

    def __init__(self, last):
        self.values = torch.cat([torch.zeros(2000), torch.tensor([last])])

    def loss(self, outputs, targets):
        return outputs[:, 0] + self.values.to(outputs).sum()


def loss(exponent):
    return lambda outputs, targets: (outputs - targets).abs().pow(exponent).mean(-1)


def problem(network=None, objective=None, measurement=None):
    rows = {"train": (INPUTS, TARGETS), "test": (INPUTS[:3], TARGETS[:3]), "left_out": [0, 5]}
    return fimo.Problem(network or Network(), objective or fimo.SquaredError(), **rows, measurement=measurement)


@pytest.mark.parametrize(
    "first, second",
    [
        ({}, {"network": Network(factor=1.001)}),
        ({}, {"network": Network(shift=0.001)}),
        ({}, {"network": Network(activation=torch.sin)}),
        ({}, {"network": Network(share=0.4)}),
        ({"objective": loss(2)}, {"objective": loss(2.001)}),
        ({"objective": fimo.Huber(0.1)}, {"objective": fimo.Huber(0.100001)}),
        ({"measurement": Offset(0.0)}, {"measurement": Offset(0.001)}),
    ],
    ids=["attribute", "buffer", "function", "training mode", "closure", "setting", "measurement"],
)
def test_what_changes_a_number_is_another_problem(first, second):
    assert problem_config(problem(**first)) != problem_config(problem(**second))


def test_a_closure_counts_where_no_row_that_is_looked_at_shows_it():
    """Nor a buffer that isn't stored: all that they hold is part of the address."""

    def weighted(weights):
        return lambda outputs, targets: nn.functional.cross_entropy(
            outputs, targets, weights.to(outputs), reduction="none"
        )

    classes = torch.arange(60) % 30
    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), classes
    configs = []
    for weight in (1.0, 50.0):
        torch.manual_seed(0)
        weights = torch.ones(30)
        weights[1] = weight
        one = fimo.Problem(nn.Linear(3, 30), weighted(weights), rows, (rows[0][:1], classes[:1]))
        configs.append(problem_config(one))
    assert configs[0]["behaviour"] == configs[1]["behaviour"] and configs[0] != configs[1]


class Counting(nn.Module):
    """With a buffer that training changes, and draws of Python's own generator."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, inputs):
        return self.layer(inputs) * (random.random() if self.training else 1)


@pytest.mark.parametrize("most", [0, 2**28])
def test_looking_changes_nothing(most, monkeypatch):
    monkeypatch.setattr("fimo.api.behaviour.MOST_BYTES", most)
    one = problem(Counting())
    before = {name: tensor.clone() for name, tensor in one.network.state_dict().items()}
    state = random.getstate()
    with torch.no_grad():
        assert behaviour(one) == behaviour(one) == behaviour(problem(Counting()))
    assert random.getstate() == state and not any(module.training for module in one.network.modules())
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_stages_work_where_gradients_are_switched_off():
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.01, epochs=1, batch_size=4)
    expected = fimo.further_train(problem(), training, 1)
    one = problem()
    with torch.no_grad():
        found = fimo.further_train(one, training, 1)
        assert not torch.is_grad_enabled() and len(fimo.attribute(one, ["grad_dot"])["Grad-Dot"])
    assert found.equals(expected)


def test_the_same_problem_has_the_same_address():
    """Made anew, looked at before, with other threads, and with generators elsewhere."""
    one = problem()
    expected, threads = problem_config(one), torch.get_num_threads()
    fimo.attribute(one, ["grad_dot"])
    state = torch.get_rng_state()
    assert problem_config(one) == expected and torch.equal(torch.get_rng_state(), state)
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        torch.manual_seed(5)
        assert problem_config(problem(Network(activation=partial(torch.tanh)))) == expected
    finally:
        torch.set_num_threads(threads)


def test_numbers_are_rounded_to_what_machines_agree_on():
    one = problem()
    exact = behaviour(one)
    with torch.no_grad():
        for parameter in one.network.parameters():
            parameter.mul_(1 + 1e-7)  # of float32 the last digit, of what is seen in float64 too little to be seen
    close = behaviour(one)
    assert [len(part) for part in exact] == [9, 9, 3, 4]
    for before, after in zip(exact, close, strict=True):
        assert [float(x) for x in before] == pytest.approx([float(x) for x in after], abs=3e-7)


def test_a_ranking_of_another_network_is_refused():
    ranking = fimo.rank(problem(), ["grad_dot"], top=5)
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.01, epochs=1, batch_size=4)
    settings = {"tests": 1, "shares": (0.17,), "seeds": 1, "random": 2}
    assert len(fimo.verify(problem(), ranking, training, **settings).table)
    with pytest.raises(fimo.UserError, match="belongs to another final model"):
        fimo.verify(problem(Network(factor=-1.0)), ranking, training, **settings)
