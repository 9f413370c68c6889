"""Networks for which torch does something else than a reader of their forward expects: right, or refused by name."""

import copy
import logging
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from brought_networks import INPUTS, TARGETS, Network, question
from problems import text_problem
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

import fimo
from fimo.gradients import GradientSource
from fimo.reference import further_training as training_reference
from fimo.reference import gradients as reference


class Bag(nn.Module):
    """A mean over the places of a text; half of the rows have padding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(9, 4, padding_idx=0), nn.Linear(4, 2)

    def forward(self, inputs):
        return self.head(torch.tanh(self.words(inputs)).mean(1))


@pytest.mark.parametrize("factored", [True, False])
def test_padding_rows_of_an_embedding_have_no_gradient(factored):
    """As autograd trains it, row by row and in every run; vmap forgets `padding_idx` for all but the first."""
    tokens = torch.randint(1, 9, (30, 6), generator=torch.Generator().manual_seed(0))
    tokens[::2, 3:] = 0
    one = question(Bag(), tokens).to(dtype=torch.float64)
    gradients = GradientSource(one, factored=factored)(one.train)
    plain, expected = Bag().double(), []  # without anything of ours
    for row, target in zip(tokens, TARGETS, strict=True):
        loss = nn.functional.cross_entropy(plain(row[None]), target[None])
        expected.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(plain.parameters()))]).norm())
    torch.testing.assert_close(gradients.norms(), torch.stack(expected))
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=8, dtype=torch.float64)
    runs = fimo.further_train(one, training, seeds=1)
    alone = fimo.further_train(
        one,
        fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=8, dtype=torch.float64, runs_at_once=1),
        seeds=1,
    )
    np.testing.assert_allclose(runs["loss_left_out"], alone["loss_left_out"], rtol=1e-12)
    loop = training_reference.gold_standard(one, partial(torch.optim.SGD, lr=0.1), 2, 8, "every_step", seed=0)
    np.testing.assert_allclose(runs["loss_left_out"][0], loop[2], rtol=1e-12)


class Turned(Network):
    """Rotary positions are a complex buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("turn", torch.polar(torch.ones(3), torch.arange(3.0)))

    def forward(self, inputs):
        hidden = torch.view_as_complex(self.first(inputs).reshape(-1, 3, 2).contiguous()) * self.turn
        return self.head(torch.view_as_real(hidden).flatten(1))


def test_complex_buffers_stay_complex():
    one = question(Turned())
    wide = one.to(dtype=torch.float64)
    assert wide.network.turn.dtype == torch.complex128 and one.network.turn.dtype == torch.complex64
    torch.testing.assert_close(
        wide.outputs(wide.parameters, wide.train.inputs).float(), one.outputs(one.parameters, one.train.inputs)
    )


class Wanders(Network):
    """A running mean of its own, set anew in training."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, inputs):
        hidden = self.first(inputs)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * hidden.detach().mean(0)
        return self.head(hidden - self.mean)


def spectral():
    return nn.Sequential(spectral_norm(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, 2))


@pytest.mark.parametrize("make, name", [(Wanders, "mean"), (spectral, "0.parametrizations.weight.0._u")])
def test_what_training_changes_beside_the_parameters_is_refused_by_name(make, name):
    one = question(make())
    assert np.isfinite(fimo.attribute(one, "grad_dot")["Grad-Dot"]).all()  # nothing trains here
    with pytest.raises(fimo.UserError, match=rf"than its parameters: {name}.*All runs of further training share"):
        fimo.further_train(one, fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=1, batch_size=8), seeds=1)


def test_parametric_relu_is_as_autograd_has_it():
    network = nn.Sequential(nn.Linear(5, 6), nn.PReLU(6), nn.Linear(6, 2))
    one = question(network).to(dtype=torch.float64)
    scores = fimo.attribute(one, ["grad_dot", "cg", "ekfac"])
    np.testing.assert_allclose(scores["Grad-Dot"], reference.scores(one, None), rtol=1e-10)
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=8, dtype=torch.float64)
    loop = training_reference.gold_standard(one, partial(torch.optim.SGD, lr=0.1), 2, 8, "every_step", seed=0)
    np.testing.assert_allclose(fimo.further_train(one, training, seeds=1)["loss_left_out"][0], loop[2], rtol=1e-12)


class Single(Network):
    """Makes a tensor of single precision itself, as a table of positions made on the fly."""

    def forward(self, inputs):
        return self.head(torch.tanh(self.first(inputs)).float() + torch.arange(6.0))


def test_a_network_of_single_precision_has_scores_with_a_note():
    one = question(Single())
    cg = fimo.attribute(one, "cg")["CG"]
    assert cg.attrs["notes"] == ["gradients in float32, since the network does not take float64"]
    ours = fimo.attribute(one, "grad_dot")["Grad-Dot"]
    np.testing.assert_allclose(ours, reference.scores(one, None), rtol=1e-4)
    training = partial(fimo.FurtherTraining, torch.optim.SGD, lr=0.1, epochs=1, batch_size=8)
    assert np.isfinite(fimo.further_train(one, training(), seeds=1)["loss_full"]).all()
    with pytest.raises(fimo.UserError, match="The network Single does not take torch.float64, since it makes ten"):
        fimo.further_train(one, training(dtype=torch.float64), seeds=1)


class Mean(nn.Module):
    """A mean over all places of a text, padding too."""

    def __init__(self, outputs):
        super().__init__()
        self.words, self.head = nn.Embedding(12, 4), nn.Linear(4, outputs)

    def forward(self, inputs):
        return self.head(torch.tanh(self.words(inputs["input_ids"])).mean(1))


def test_sequences_are_not_cut_where_padding_counts(caplog):
    """A score must not depend on which examples lie beside it in a block."""
    caplog.set_level(logging.INFO, "fimo")
    one = text_problem(Mean)
    assert one.train.lengths is None and one.test.lengths is None
    assert "sequences keep all of their padding" in caplog.text
    together, alone = fimo.attribute(one, "grad_dot")["Grad-Dot"], []
    for place in range(len(one.test)):
        some = replace(one, test=one.test.keep(slice(place, place + 1)))
        alone.append(fimo.attribute(some, "grad_dot")["Grad-Dot"].values[0])
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert text_problem().train.lengths is not None  # that network has a mask


class OneInTwoPlaces(nn.Module):
    """The same module under two names, as in a network with two arms."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.left = nn.Linear(5, 3)
        self.right = self.left
        self.head = nn.Linear(6, 2)

    def forward(self, inputs):
        return self.head(torch.tanh(torch.cat([self.left(inputs), self.right(2 * inputs)], 1)))


def test_a_module_in_two_places():
    network = OneInTwoPlaces().double()
    with pytest.raises(fimo.UserError, match=r"one module in two places, left and right, .*: give each place a mod"):
        question(network)
    frozen = fimo.Problem(
        network, fimo.CrossEntropy(), (INPUTS, TARGETS), (INPUTS[:3], TARGETS[:3]), [0, 3], parameters="last_layer"
    )
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=1, batch_size=8)
    assert np.isfinite(fimo.further_train(frozen, training, seeds=1)["loss_left_out"]).all()
    network.right = copy.deepcopy(network.left)
    network.right.weight, network.right.bias = network.left.weight, network.left.bias
    assert question(network).size == 5 * 3 + 3 + 6 * 2 + 2


@pytest.mark.parametrize(("dtype", "lines"), [(torch.bfloat16, 2), (torch.float32, 0)])
def test_rounding_to_half_precision_is_said(dtype, lines, caplog):
    """Of training rows and of test examples; integers and numbers that fit are not rounded."""
    question(Network().to(dtype))
    assert sum("rounded to bfloat16, the precision of the network" in text for text in caplog.messages) == lines
    caplog.clear()
    question(Network().to(dtype), INPUTS.sign())
    assert "rounded" not in caplog.text
