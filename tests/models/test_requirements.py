"""Networks that people bring: what can't be right is refused in a sentence."""

import pytest
import torch
from brought_networks import INPUTS, TARGETS, Checkpointed, Network, question
from torch import nn
from torch.nn import functional

import fimo
from fimo.rows import Rows


class AlwaysDropout(Network):
    def forward(self, inputs):
        return self.head(functional.dropout(torch.tanh(self.first(inputs)), 0.2))


class AcrossRows(Network):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0)

    def forward(self, inputs):
        return self.head(self.layer(self.first(inputs)[:, None])[:, 0])


class BatchStatistics(Network):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)

    def forward(self, inputs):
        return self.head(self.norm(self.first(inputs)))


class Centred(Network):
    def forward(self, inputs):
        return super().forward(inputs - inputs.mean(0))


class Counts(Network):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, inputs):
        self.passes += 1
        return super().forward(inputs)


class Frozen(Network):
    def forward(self, inputs):
        with torch.no_grad():
            return super().forward(inputs)


class Detached(Network):
    def forward(self, inputs):
        return super().forward(inputs).detach()


class Integers(Network):
    def forward(self, inputs):
        return super().forward(inputs).argmax(-1, keepdim=True)


class Complex(Network):
    def __init__(self):
        super().__init__()
        self.turn = nn.Parameter(torch.zeros(6, dtype=torch.complex64))


def old_weight_norm():
    network = nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, 2))
    network(INPUTS)
    return network


def old_spectral_norm():
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, 2))


REFUSED = {
    "dropout that stays on": (
        AlwaysDropout,
        "Two passes of the network AlwaysDropout in eval mode differ, .*drop",
    ),
    "attention across rows": (AcrossRows, "for a row differ alone and beside others, by .*batch_first=False"),
    "statistics of the batch": (
        BatchStatistics,
        "differ alone and beside others|takes 4 rows together",
    ),
    "mean over rows": (Centred, "a row's outputs depend on other rows"),
    "a counter": (Counts, "A pass of the network Counts in eval mode changes passes, .*self.training"),
    "no gradient": (Frozen, r"The loss of the network Frozen has no gradient\. The usual cause is torch.no_grad"),
    "detached": (Detached, "The loss of the network Detached has no gradient"),
    "classes for outputs": (Integers, "The network Integers must give real numbers .*, found torch.int64"),
    "reentrant checkpointing": (Checkpointed, "can't be differentiated .*checkpoint without use_reentrant=False"),
    "complex parameters": (Complex, "must be real numbers, found turn of torch.complex64"),
    "a lazy layer": (lambda: nn.LazyLinear(2), "The parameter weight of the network LazyLinear has no size yet"),
    "a scripted network": (lambda: torch.jit.script(Network()), "The network is scripted"),
    "old spectral norm": (old_spectral_norm, "can't be copied .*old torch.nn.utils.weight_norm or spectral_norm"),
    "old weight norm": (old_weight_norm, r"can't be copied .*take those of torch.nn.utils.parametrizations"),
    "other inputs": (lambda: nn.Linear(6, 2), r"can't take 4 rows of these data, \[4, 5\] \(RuntimeError: "),
    "no parameters": (nn.Identity, "The network Identity has no parameters"),
    "no network": (lambda: len, "The network must be a torch.nn.Module, found a builtin_function_or_method"),
    "maps for outputs": (lambda: nn.Sequential(nn.Linear(5, 4), nn.Unflatten(1, (2, 2))), r"the shape \[4, 2, 2\] for"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_t_be_right_is_refused(kind):
    make, sentence = REFUSED[kind]
    with pytest.raises(fimo.UserError, match=sentence) as raised:
        question(make())
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")


def test_a_network_for_tables_does_not_take_images():
    """The default network of the commands is one: the sentence names those for images."""
    images, targets = torch.rand(6, 1, 4, 4), torch.arange(6) % 2
    with pytest.raises(fimo.UserError, match=r"\[4, 1, 4, 4\] .*such inputs \(model=convolutional, model=resnet9\)"):
        fimo.Problem(nn.Linear(5, 2), fimo.CrossEntropy(), (images, targets), (images, targets), [0])


@pytest.mark.parametrize(
    "network, targets, objective, sentence",
    [
        (Network(1), TARGETS, None, r"needs an output for each class, found 1 output: take fimo.BinaryCrossEntropy"),
        (Network(2), TARGETS + 1, None, "class numbers from 0 to 1, as the network has 2 outputs, found 2"),
        (Network(2), TARGETS - 1, None, "class numbers from 0 to 1, .* found -1"),
        (Network(2), TARGETS.float(), None, r"must be class numbers \[row\], found \[30, 1\] of torch.float32"),
        (
            Network(2),
            INPUTS[:, 0],
            fimo.SquaredError(),
            r"must be real numbers \[row, 2\] .*, found \[30, 1\] of torch.f",
        ),
        (Network(1), INPUTS[:, :2], fimo.SquaredError(), r"\[row, 1\] like the outputs, found \[30, 2\]"),
    ],
)
def test_targets_that_the_objective_does_not_take(network, targets, objective, sentence):
    with pytest.raises(fimo.UserError, match=sentence):
        question(network, targets=targets, objective=objective)


def test_targets_of_rows_are_looked_at_too():
    """Those without an axis of outputs would be broadcast, [row] with [row, 1]."""
    rows = Rows(INPUTS, INPUTS[:, 0], torch.arange(30))
    with pytest.raises(fimo.UserError, match=r"must be real numbers \[row, 1\] like the outputs, found \[30\] of"):
        fimo.Problem(Network(1), fimo.SquaredError(), rows, rows, left_out=[0])
