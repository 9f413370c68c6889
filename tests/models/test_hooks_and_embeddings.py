"""Networks whose gradients are not what their outputs say: hooks on gradients, and embeddings with such options."""

from functools import partial

import numpy as np
import pytest
import torch
from brought_networks import TARGETS, Network, question
from torch import nn

import fimo
from fimo.reference import further_training as training_reference

TRAINING = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=8, dtype=torch.float64)


def halved(gradients):
    return tuple(gradient if gradient is None else gradient / 2 for gradient in gradients)


def of_inputs(layer):
    layer.register_full_backward_hook(lambda module, gradients, later: halved(gradients))


def of_outputs(layer):
    layer.register_full_backward_pre_hook(lambda module, gradients: halved(gradients))


def of_a_tensor(layer):
    def hook(module, inputs, outputs):
        if outputs.requires_grad:
            outputs.register_hook(lambda gradient: gradient / 2)

    layer.register_forward_hook(hook)


class Hooked(Network):
    """The gradient behind the last layer but one is halved."""

    def __init__(self, hook):
        super().__init__()
        hook(self.first if hook is not of_inputs else self.head)


@pytest.mark.parametrize("hook", [of_inputs, of_outputs, of_a_tensor])
def test_hooks_on_gradients_count_in_further_training(hook, caplog):
    """vmap leaves them out, so that every run was another network's without a word."""
    one = question(Hooked(hook)).to(dtype=torch.float64)
    runs = fimo.further_train(one, TRAINING, seeds=1)
    loop = training_reference.gold_standard(one, partial(torch.optim.SGD, lr=0.1), 2, 8, "every_step", seed=0)
    np.testing.assert_allclose(runs["loss_left_out"][0], loop[2], rtol=1e-12)
    plain = fimo.further_train(question(Network()).to(dtype=torch.float64), TRAINING, seeds=1)
    assert np.abs(runs["loss_full"] - plain["loss_full"]).max() > 1e-3


class Words(nn.Module):
    """A mean over the places of a text."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(9, 4, **options), nn.Linear(4, 2)

    def forward(self, inputs):
        return self.head(torch.tanh(self.words(input=inputs)).mean(1))


TOKENS = torch.randint(0, 9, (30, 6), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", [{"padding_idx": 0}, {"sparse": True}])
def test_embeddings_that_are_called_by_keyword(options):
    """Scores and runs are those of autograd; sparse gradients have the same numbers."""
    one = question(Words(**options), TOKENS).to(dtype=torch.float64)
    plain, gradients = Words(padding_idx=options.get("padding_idx")).double(), []
    for row, target in zip(TOKENS, TARGETS, strict=True):
        loss = nn.functional.cross_entropy(plain(row[None]), target[None])
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(plain.parameters()))]))
    rows = torch.stack(gradients)
    expected = rows[: len(one.test)] @ rows[[0, 3, 7]].T / len(one.train)
    np.testing.assert_allclose(fimo.attribute(one, ["grad_dot"])["Grad-Dot"], expected, rtol=1e-9, atol=1e-12)
    runs = fimo.further_train(one, TRAINING, seeds=1)
    loop = training_reference.gold_standard(one, partial(torch.optim.SGD, lr=0.1), 2, 8, "every_step", seed=0)
    np.testing.assert_allclose(runs["loss_left_out"][0], loop[2], rtol=1e-12)


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_gradients_by_frequency_are_refused(kind):
    network = nn.Sequential(kind(9, 4, scale_grad_by_freq=True), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(fimo.UserError, match="embedding 0 scales gradients by how often"):
        question(network, TOKENS[:, :1] if kind is nn.Embedding else TOKENS)
