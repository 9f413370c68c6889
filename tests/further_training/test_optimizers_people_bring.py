"""Functions that make an optimizer, and networks with a parameter of one number, against a loop over single runs."""

import numpy as np
import pytest
import torch
from torch import nn

import fimo
from fimo.reference import further_training as reference

ROWS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = ROWS.roll(1, 1).tanh()


class Scaled(nn.Module):
    """Two layers of one size, and a factor."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False))
        self.factor = nn.Parameter(torch.tensor(1.3))

    def forward(self, inputs):
        return self.layers(inputs) * self.factor


@pytest.fixture
def question():
    torch.manual_seed(1)
    return fimo.Problem(Scaled().double(), fimo.SquaredError(), (ROWS, TARGETS), (ROWS[:3], TARGETS[:3]), [0, 5])


def reordered(parameters, lr):
    return torch.optim.SGD(list(parameters)[::-1], lr=lr)


def that_need_gradients(parameters, lr):
    return torch.optim.SGD([parameter for parameter in parameters if parameter.requires_grad], lr=lr)


def two_rates(parameters, lr):
    first, *others = parameters
    return torch.optim.SGD([{"params": [first], "lr": lr / 10}, {"params": others}], lr=lr)


def the_first_alone(parameters, lr):
    return torch.optim.SGD(list(parameters)[:1], lr=lr)


def trained(question, optimizer, **settings):
    training = fimo.FurtherTraining(
        optimizer, lr=0.3, epochs=3, batch_size=4, leave_out="drop", dtype=torch.float64, **settings
    )
    runs = fimo.further_train(question, training, 1)
    loops = reference.gold_standard(question, lambda ps: optimizer(ps, lr=0.3), 3, 4, "drop", seed=0, **settings)
    return runs, loops


@pytest.mark.parametrize(
    "optimizer, clip",
    [(make, clip) for make in (torch.optim.SGD, reordered, that_need_gradients, two_rates) for clip in (None, 0.05)]
    + [(the_first_alone, None)],  # with a clip, a loop would count gradients that nobody sets to zero
)
def test_each_parameter_moves_by_its_own_gradient(question, optimizer, clip):
    runs, loops = trained(question, optimizer, clip=clip)
    for name, expected in zip(("loss_before", "loss_full", "loss_left_out"), loops, strict=True):
        np.testing.assert_allclose(runs[name].values.squeeze(), expected, rtol=1e-10)


def test_several_parameter_groups_have_no_rules(question):
    training = fimo.FurtherTraining(two_rates, lr=0.3, epochs=3, batch_size=4)
    with pytest.raises(fimo.UserError, match="one learning rate for all parameters, found 2 parameter groups"):
        fimo.attribute(question, ["unrolled_gn"], training)
