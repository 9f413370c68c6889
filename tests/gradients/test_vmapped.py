"""Passes by `vmap` over rows: those of all rows together, for every network that it takes, and for no other."""

from functools import partial

import pytest
import torch
from brought_networks import Checkpointed, Network, question
from problems import Sentences, problem, text_problem
from torch import nn
from varied_networks import BehindABranch, Sorted, with_classes

import fimo
from fimo.gradients import GradientSource, vmapped
from fimo.gradients.cotangents import of_curvature, of_loss
from fimo.gradients.passes import layer_passes


class Positions(nn.Module):
    """Positions are looked up once for all rows, and a layer's output is changed in place."""

    def __init__(self, outputs):
        super().__init__()
        self.embed, self.place = nn.Embedding(12, 4), nn.Embedding(9, 4)
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, outputs)

    def forward(self, inputs):
        tokens = inputs["input_ids"]
        hidden = self.body(self.embed(tokens) + self.place(torch.arange(tokens.shape[1])[None])).relu_()
        mask = inputs["attention_mask"][..., None]
        return self.head((hidden * mask).sum(1) / mask.sum(1))


APART = ("mlp", "linear", "convolutional", "dropout", "two dropouts", "in-place")
TAKEN = {
    **{name: partial(problem, "classification", name) for name in APART},
    "sentences": lambda: text_problem(Sentences),
    "positions": lambda: text_problem(Positions),
}


@pytest.mark.parametrize("cotangents", [of_loss, of_curvature])
@pytest.mark.parametrize("name", TAKEN)
def test_they_are_those_of_all_rows_together(name, cotangents):
    one = TAKEN[name]()
    factorisation = GradientSource(one).factorisation
    assert factorisation.vmapped
    passes = (make(one, one.train, factorisation.layers, cotangents) for make in (layer_passes, vmapped._passes))
    for part, its in zip(*passes, strict=True):
        assert part.name == its.name and len(part.deltas) == len(its.deltas)
        for ours, expected in zip((its.inputs, *its.deltas), (part.inputs, *part.deltas), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)


def test_rows_that_they_keep_apart_are_their_own(caplog):
    """What a network does with other rows of a block, it doesn't do with a row by itself."""
    one = with_classes(Sorted)
    source = GradientSource(one)
    assert source.factorisation.vmapped
    torch.testing.assert_close(source(one.train).norms(), GradientSource(one, factored=False)(one.train).norms())
    assert not caplog.messages


class Recomputed(Checkpointed):
    reentrant = False


class Halved(Network):
    """A hook changes a gradient on the way back."""

    def forward(self, inputs):
        hidden = torch.tanh(self.first(inputs))
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: gradient / 2)
        return self.head(hidden)


class Watched(Network):
    """A module's backward hook changes its gradient."""

    def __init__(self):
        super().__init__()
        self.head.register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * 2,))


class Constant(Network):
    """One of its layers sees no row."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Linear(3, 6)

    def forward(self, inputs):
        return self.head(torch.tanh(self.first(inputs) + self.shift(torch.ones(len(inputs), 3))))


class Slow(Network):
    """torch has no rule for one of its operations, and would do a row after another."""

    def forward(self, inputs):
        return self.head(torch.tanh(self.first(torch.renorm(inputs, 2, 0, 100.0))))


class Halves(Network):
    """A layer computes in half precision, and its inputs are in single precision."""

    def forward(self, inputs):
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.first(inputs)
        return self.head(torch.tanh(hidden.float()))


def test_a_layer_of_another_precision_has_gradients_as_they_are():
    one = question(Halves().eval())
    source = GradientSource(one)
    assert not source.factored
    assert fimo.attribute(one, ["grad_dot", "ekfac"])["EK-FAC"].notnull().all()


NOT_TAKEN = [Recomputed, Halved, Watched, Constant, Slow]


@pytest.mark.parametrize("kind", NOT_TAKEN)
def test_networks_that_go_all_rows_together(kind):
    one = question(kind().eval())
    source = GradientSource(one)
    assert source.factored and not source.factorisation.vmapped
    theta = list(one.network.parameters())
    for row in range(len(one.train)):
        inputs, targets = one.train[slice(row, row + 1)]
        truth = torch.autograd.grad(one.objective.loss(one.network(inputs), targets).sum(), theta)
        torch.testing.assert_close(
            source(one.train.keep(slice(row, row + 1))).norms()[0],
            torch.cat([part.flatten() for part in truth]).norm(),
        )


def test_a_branch_that_the_data_choose():
    assert not GradientSource(with_classes(BehindABranch)).factorisation.vmapped


class LaterOtherwise(Positions):
    """Longer sequences than the first ones take a way that `vmap` doesn't."""

    def forward(self, inputs):
        if inputs["input_ids"].shape[1] > 7:
            inputs["input_ids"].sum().item()
        return super().forward(inputs)


def test_rows_that_vmap_does_not_take_go_together():
    one = text_problem(LaterOtherwise)
    source = GradientSource(one)
    assert source.factorisation.vmapped
    with pytest.raises(RuntimeError, match="item"):
        vmapped._passes(one, one.train, source.factorisation.layers, of_loss)
    expected = GradientSource(one, factored=False)(one.train).norms()
    torch.testing.assert_close(source(one.train).norms(), expected)


def test_memory_that_ran_out_is_said(monkeypatch):
    one = problem("classification")
    source = GradientSource(one)

    def full(*them):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(vmapped, "_recorded_calls", full)
    with pytest.raises(torch.OutOfMemoryError):
        source(one.train)
    with pytest.raises(torch.OutOfMemoryError):
        GradientSource(problem("classification"))


def test_scores_are_those_of_all_rows_together(request):
    make = {"mlp": lambda: problem("classification"), "sentences": lambda: text_problem(Sentences)}
    vmapped_scores = [fimo.attribute(one(), ["grad_dot", "ekfac"]) for one in make.values()]
    request.getfixturevalue("together")
    for one, scores in zip(make.values(), vmapped_scores, strict=True):
        for name, expected in fimo.attribute(one(), ["grad_dot", "ekfac"]).items():
            torch.testing.assert_close(
                torch.from_numpy(scores[name].values), torch.from_numpy(expected.values), rtol=1e-12, atol=1e-15
            )
