"""Rows that are no finite numbers are refused by name, where network and loss don't take them."""

import pytest
import torch
from torch import nn

import fimo

INPUTS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS.sum(1, keepdim=True)
NAN, INF = float("nan"), float("inf")


class Filled(nn.Module):
    """It knows what to do with a number that is missing."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, inputs):
        return self.layer(inputs.nan_to_num(0.0))


def masked(outputs, targets):
    known = targets.isfinite()
    return torch.where(known, outputs - torch.where(known, targets, 0), 0).square().mean(-1)


def changed(tensor, row, number):
    tensor = tensor.clone()
    tensor[row, 0] = number
    return tensor


def asked(inputs=INPUTS, targets=TARGETS, test=(INPUTS[:5], TARGETS[:5]), network=None, loss=None, weights=()):
    torch.manual_seed(0)
    examples = (inputs, targets, *weights), test
    return fimo.Problem(network or nn.Linear(4, 1), loss or fimo.SquaredError(), *examples, left_out=[0, 3])


@pytest.mark.parametrize(
    "settings, text",
    [
        (
            {"inputs": changed(INPUTS, 7, NAN)},
            "train must be .*: found nan among the inputs of row 7 .of 1 such",
        ),
        ({"targets": changed(TARGETS, 9, INF)}, "train must .* found inf among the targets of row 9 .of 1 such"),
        (
            {"targets": changed(TARGETS, [2, 9], NAN), "weights": [torch.ones(20)]},
            "train must .* found nan among the targets of row 2 .of 2 such rows.. Correct these",
        ),
        (
            {"test": (changed(INPUTS, 19, -INF)[10:], TARGETS[10:])},
            "test must .* found -inf among the inputs of row 9 .of 1 such",
        ),
        ({"test": (INPUTS, changed(TARGETS, 4, NAN)), "network": Filled()}, "test must .* among the targets of row 4"),
    ],
)
def test_what_is_refused(settings, text):
    with pytest.raises(fimo.UserError, match=text):
        asked(**settings)


def test_what_network_or_loss_takes():
    assert asked(changed(INPUTS, 7, NAN), network=Filled()).size == 5
    assert asked(targets=changed(TARGETS, 7, NAN), loss=masked).size == 5
