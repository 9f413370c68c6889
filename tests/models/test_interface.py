"""Networks of several inputs, with other outputs than a matrix, in wrappers: as the plain network inside."""

import copy
import logging

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from brought_networks import INPUTS, Checkpointed, Network, question
from torch import nn

import fimo
from fimo.models.interface import outputs_of


class OneNumberARow(Network):
    def __init__(self):
        super().__init__(1)

    def forward(self, inputs):
        return super().forward(inputs).squeeze()


class Keywords(Network):
    def forward(self, many, one=None):
        return super().forward(many + one)


class Positions(Network):
    def forward(self, x, c):
        return super().forward(x + c)


class OneMapping(Network):
    def forward(self, inputs):
        return super().forward(inputs["many"] + inputs["one"])


class AnyKeywords(Network):
    def forward(self, **inputs):
        return super().forward(inputs["many"] + inputs["one"])


class ReturnsTuple(Network):
    def forward(self, inputs):
        return super().forward(inputs), inputs


class ReturnsMapping(Network):
    def forward(self, inputs):
        return {"loss": None, "logits": super().forward(inputs)}


class ReturnsObject(Network):
    def forward(self, inputs):
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(logits=super().forward(inputs))


ONE = torch.full((30, 1), 0.5)
MAPPING, TUPLE = {"many": INPUTS - 0.5, "one": ONE}, (INPUTS - 0.5, ONE)
INTERFACES = {
    "keywords": (Keywords, MAPPING),
    "any keywords": (AnyKeywords, MAPPING),
    "positions": (Positions, TUPLE),
    "names in another order": (Keywords, {"one": ONE, "many": INPUTS - 0.5}),
    "one mapping": (OneMapping, MAPPING),
    "a tuple of outputs": (ReturnsTuple, INPUTS),
    "a mapping of outputs": (ReturnsMapping, INPUTS),
    "an object with logits": (ReturnsObject, INPUTS),
    "without a reentrant checkpoint": (type("Kept", (Checkpointed,), {"reentrant": False}), INPUTS),
}


@pytest.mark.parametrize("kind", INTERFACES)
def test_inputs_and_outputs_as_the_signature_has_them(kind):
    """Scores and effects are those of the plain network."""
    make, inputs = INTERFACES[kind]
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=8, dtype=torch.float64)
    expected, found = (question(network, given) for network, given in ((Network(), INPUTS), (make(), inputs)))
    for name in ("grad_dot", "cg", "ekfac", "unrolled_gn"):
        ours, theirs = (next(iter(fimo.attribute(one, name, training).values())) for one in (found, expected))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7 * float(abs(theirs).max()))
    gold = [fimo.further_train(one, training, seeds=1)["loss_left_out"] for one in (found, expected)]
    np.testing.assert_allclose(*gold, rtol=1e-6)


def test_one_number_a_row_needs_no_axis():
    """Not even where the network squeezes a single row to nothing."""
    plain, squeezed = (
        question(network, targets=INPUTS[:, 0], objective=fimo.SquaredError())
        for network in (Network(1), OneNumberARow())
    )
    ours, theirs = (fimo.attribute(one, "cg")["CG"] for one in (squeezed, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


class Held(pl.LightningModule):
    """Trains what it holds, and has no parameters of its own."""

    def __init__(self, network, passes_on=True):
        super().__init__()
        self.network = network
        self.forward = network.forward if passes_on else super().forward


class Halves(pl.LightningModule):
    """Another function than the network that it holds."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, inputs):
        return self.network(inputs) / 2


WRAPPERS = {
    "compiled": lambda network: torch.compile(network),
    "parallel": nn.DataParallel,
    "lightning": Held,
    "lightning without a forward": lambda network: Held(network, False),
    "both": lambda network: torch.compile(nn.DataParallel(network)),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_wrappers_are_taken_off_with_a_word(kind, caplog):
    caplog.set_level(logging.INFO, "fimo")
    wrapped = WRAPPERS[kind](Network())
    one = question(wrapped)
    assert list(one.parameters) == ["first.weight", "first.bias", "head.weight", "head.bias"]
    assert "the network Network is taken out of its" in caplog.text
    np.testing.assert_allclose(fimo.attribute(one, "cg")["CG"], fimo.attribute(question(Network()), "cg")["CG"])


def test_a_lightning_module_that_does_more_stays():
    assert type(question(Halves(Network())).network) is Halves


def test_a_trainer_is_not_copied():
    module = Held(Network())
    module.trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert len(question(module).parameters) == 4 and module.trainer is not None


def test_the_callers_network_and_generator_are_untouched():
    network = ReturnsTuple().train()
    before, drawn = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    question(network)
    assert torch.equal(drawn, torch.get_rng_state()) and network.training
    assert not network._forward_hooks and not network._forward_pre_hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    "returned, found", [({"a": 1, "b": 2}, "a dict of a, b"), (None, "a NoneType"), ([], "a list")]
)
def test_outputs_that_are_none(returned, found):
    with pytest.raises(fimo.UserError, match=f"a mapping with 'logits', found {found}"):
        outputs_of(returned)
