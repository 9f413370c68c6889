"""Kinds of networks that went wrong somewhere in public: right to rounding, if need be one after another.

What is refused at the door stands in `test_requirements.py`, other inputs and outputs in `test_interface.py`, padding,
complex buffers and buffers that training changes in `test_brought_networks.py`, losses in `../test_objectives.py`.
"""

import logging
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from brought_networks import INPUTS, TARGETS, Network, question
from methods import METHODS
from torch import nn
from varied_networks import BehindABranch, Experts, Skips, Twice

import fimo
from fimo import vmapping
from fimo.attribution import attribute
from fimo.compat import differentiable_attention
from fimo.models.checkpoint import load_weights
from fimo.pipeline import formats
from fimo.pipeline.checkpoints import read_checkpoint
from fimo.reference import further_training as training_reference
from fimo.reference import gradients as reference


class Missing(Network):
    """A branch for missing values."""

    def forward(self, inputs):
        absent = inputs < -1.5
        if absent.any():
            inputs = torch.where(absent, self.first.weight.mean(), inputs)
        return super().forward(inputs)


class Masked(nn.Module):
    """torch's encoder with its mask for padding, a place for each number."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(1, 4), nn.Linear(4, 2)
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, inputs):
        encoded = self.encoder(self.embed(inputs[..., None]), src_key_padding_mask=inputs < -1.0)
        return self.head(encoded[:, 0])


class WithoutGradient(Network):
    """A body under `no_grad`."""

    def forward(self, inputs):
        with torch.no_grad():
            hidden = torch.tanh(self.first(inputs))
        return self.head(hidden)


class DetachedPart(Network):
    def __init__(self):
        super().__init__()
        self.beside = nn.Linear(5, 2)

    def forward(self, inputs):
        return super().forward(inputs) + self.beside(inputs).detach()


class Recurrent(nn.Module):
    kind = nn.LSTM

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cells, self.head = self.kind(1, 2, batch_first=True), nn.Linear(2, 2)

    def forward(self, inputs):
        return self.head(self.cells(inputs[..., None])[0][:, -1])


class Gated(Recurrent):
    kind = nn.GRU


class Particular(Network):
    """Raises what no library expects where it is called with more than plain tensors."""

    error = KeyError

    def forward(self, inputs):
        if torch._C._functorch.is_batchedtensor(inputs) or torch._C._functorch.is_batchedtensor(self.first.weight):
            raise self.error("plain tensors alone")
        return super().forward(inputs)


class Loops(Network):
    """Goes over the rows itself."""

    def forward(self, inputs):
        return torch.stack([super(Loops, self).forward(inputs[row]) for row in range(len(inputs))])


class TiedBack(Network):
    """The second layer's weight is the first one's."""

    def __init__(self):
        super().__init__()
        self.again = nn.Linear(5, 6)
        self.again.weight = self.first.weight

    def forward(self, inputs):
        return self.head(torch.tanh(self.first(inputs)) * self.again(inputs))


@dataclass(frozen=True)
class Right:
    """A network whose scores and effects are those of a plain loop with autograd."""

    make: object
    says: str | None = None  # of the log
    methods: tuple = ("Grad-Dot", "DataInf", "CG")


SECOND = (*Right.methods, "LiSSA-H")  # with second derivatives
ONE_BY_ONE = "are computed one after another"
RIGHT = {
    "a weight behind its module's back for some rows": Right(BehindABranch, ONE_BY_ONE),
    "a mixture of experts": Right(Experts, ONE_BY_ONE),
    "a layer skipped by some rows": Right(Skips, ONE_BY_ONE),
    "a layer called twice for some rows": Right(Twice, ONE_BY_ONE),
    "a branch for missing values": Right(Missing, ONE_BY_ONE),
    "a mask for padding in torch's encoder": Right(Masked),
    "a part under no_grad": Right(WithoutGradient, "no gradient in first.weight, first.bias: it counts as zero"),
    "a detached part": Right(DetachedPart, "no gradient in beside.weight, beside.bias: it counts as zero"),
    "LSTM": Right(Recurrent, methods=SECOND),
    "GRU": Right(Gated, methods=SECOND),
    "an unexpected exception under vmap": Right(Particular, ONE_BY_ONE),
    "a list index out of range under vmap": Right(type("Indexed", (Particular,), {"error": IndexError}), ONE_BY_ONE),
    "a loop over rows": Right(Loops),
    "a weight tied to another layer's": Right(TiedBack),
}


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(vmapping, "_warned", set())  # of other tests
    caplog.set_level(logging.INFO, "fimo")
    return caplog


@pytest.mark.parametrize("kind", RIGHT)
def test_scores_and_effects_are_the_plain_loops(kind, log):
    known = RIGHT[kind]
    rows = INPUTS[:12].double()
    one = question(known.make().double(), rows, TARGETS[:12], test=slice(9, 12))
    for label in known.methods:
        scores = attribute(one, METHODS[label].make())
        with differentiable_attention():
            expected = reference.scores(one, METHODS[label].matrix(one))
        rtol = METHODS[label].rtol if label == "LiSSA-H" else 1e-10
        np.testing.assert_allclose(scores, expected, rtol=rtol, atol=rtol * np.abs(expected).max(), err_msg=label)
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=6, dtype=torch.float64)
    loop = training_reference.gold_standard(one, partial(torch.optim.SGD, lr=0.1), 2, 6, "every_step", seed=0)
    losses = fimo.further_train(one, training, seeds=1)["loss_left_out"][0]
    np.testing.assert_allclose(losses, loop[2], rtol=1e-10)
    assert known.says is None or known.says in log.text


def test_a_tied_weight_is_stored_once_and_tied_again(tmp_path):
    """As `safetensors.torch.save_model` has it, whose files are taken too."""
    from safetensors.torch import save_model

    network, path = TiedBack(), tmp_path / "model.safetensors"
    path.write_bytes(formats.from_weights(network.state_dict()))
    save_model(network, str(tmp_path / "theirs.safetensors"))
    for file in (path, tmp_path / "theirs.safetensors"):
        other = TiedBack()
        nn.init.zeros_(other.first.weight)
        load_weights(other, read_checkpoint(file), file)
        assert other.again.weight is other.first.weight and torch.equal(other.first.weight, network.first.weight)
    weights = formats.read_weights(path)
    del weights["first.bias"]
    with pytest.raises(fimo.UserError, match="the network wants first.bias, which the file lacks"):
        load_weights(TiedBack(), weights, "it")
