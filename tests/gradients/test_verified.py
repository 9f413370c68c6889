"""Networks that take other rows another way than the first two: gradients are autograd's for every row."""

import re

import numpy as np
import pytest
import torch
from brought_networks import INPUTS, Network, question
from methods import METHODS
from problems import problem
from torch import nn
from torch.nn import functional

import fimo
from fimo.attribution import attribute
from fimo.gradients import GradientSource, verified
from fimo.reference import gradients as reference

ROWS = INPUTS[:16].double().clone()
ROWS[:2, 0] = torch.tensor([-0.1, -0.2])  # rows that take no other way come first
LABELS = (ROWS[:, 1] > 0).long()


class Variant(Network):
    """A body with an inner layer of five to five; `special` rows are those whose first number is positive."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 5), nn.Linear(5, 2)
        del self.first
        self.double()

    def forward(self, inputs):
        return self.head(torch.tanh(self.hidden(inputs, inputs[:, 0] > 0)))


class BehindAGate(Variant):
    """All in one graph: the rows without it have a zero in its place."""

    def hidden(self, inputs, special):
        again = functional.linear(inputs.tanh(), self.inner.weight) * special[:, None]
        return self.inner(inputs) + again


class BehindABranch(Variant):
    """The weight is used behind its layer's back where there is a special row at all."""

    def hidden(self, inputs, special):
        hidden = self.inner(inputs)
        if special.any():
            hidden = hidden.index_put((special,), functional.linear(hidden[special], self.inner.weight))
        return hidden


class Skips(Variant):
    """Special rows don't go through the layer."""

    def hidden(self, inputs, special):
        return inputs.index_put((~special,), self.inner(inputs[~special]))


class Twice(Variant):
    """The layer is called a second time for special rows."""

    def hidden(self, inputs, special):
        hidden = self.inner(inputs)
        return hidden.index_put((special,), self.inner(hidden[special])) if special.any() else hidden


class Never(Variant):
    """A second layer is called for special rows only."""

    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(5, 5).double()

    def hidden(self, inputs, special):
        hidden = self.inner(inputs)
        return hidden.index_put((special,), self.extra(hidden[special])) if special.any() else hidden


class Experts(Variant):
    """Each row goes to the expert of its largest number; all experts are called, some with no row."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(5, 5) for _ in range(3)).double()

    def hidden(self, inputs, special):
        chosen, hidden = inputs[:, :3].argmax(1), self.inner(inputs)
        for number, expert in enumerate(self.experts):
            hidden = hidden.index_put((chosen == number,), expert(hidden[chosen == number]))
        return hidden


class Sorted(Variant):
    """The layer is called once with all rows, in another order."""

    def hidden(self, inputs, special):
        order = inputs[:, 0].argsort(descending=True)
        return self.inner(inputs[order])[order.argsort()]


class Tied(Variant):
    def __init__(self):
        super().__init__()
        self.again = nn.Linear(5, 5).double()
        self.again.weight = self.inner.weight

    def hidden(self, inputs, special):
        return self.again(torch.tanh(self.inner(inputs)))


def with_classes(kind):
    torch.manual_seed(0)
    return question(kind(), ROWS, LABELS, test=slice(10, 14))


# How each is found out: by the first two rows, or at a block of other rows, by this sentence.
VARIANTS = {
    BehindAGate: "inner.weight is also used where its layer is not called",
    BehindABranch: "inner.weight is also used where its layer is not called",
    Skips: r"the layer inner is called with \d of \d+ rows",
    Twice: "some rows call the layer inner 2 times and others once",
    Never: None,
    Experts: r"the layer experts.0 is called with \d+ of \d+ rows",
    Sorted: "the layer inner has some rows in the places of others",
    Tied: None,
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_every_method_is_right_whatever_the_first_rows_are_like(kind, caplog):
    for label in ("Grad-Dot", "DataInf", "CG", "TRAK"):
        one, method = with_classes(kind), METHODS[label]
        scores, expected = attribute(one, method.make()), reference.scores(one, method.matrix(one), method.unit)
        rtol = method.rtol if label == "TRAK" else 1e-10  # TRAK multiplies in float32
        np.testing.assert_allclose(scores, expected, rtol=rtol, atol=rtol * np.abs(expected).max(), err_msg=label)
    same_in_both_forms(kind, METHODS["EK-FAC"].make)
    messages = [message for message in caplog.messages if "not in factors" in message]
    assert bool(messages) is (VARIANTS[kind] is not None)
    assert all(re.search(f"network {kind.__name__} .*: {VARIANTS[kind]}", message) for message in messages)


def same_in_both_forms(kind, make, **options):
    """With gradients as they are from the beginning."""
    first, second = with_classes(kind), with_classes(kind)
    verified._dense.add(second.network)
    ours, theirs = (attribute(one, make(), **options) for one in (first, second))
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", [BehindABranch, Twice, Sorted])
def test_a_fit_to_rows_that_take_no_other_way_is_not_used(kind):
    """P is fitted in factors, and then a left-out row shows that they don't hold: all of it is done anew."""
    same_in_both_forms(kind, METHODS["CG"].make, curvature_rows=1)


def test_other_parameters_can_take_other_ways():
    """Scores along a run: gradients are taken at parameters of which the final model's say nothing."""
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=1, batch_size=8)
    first, second = with_classes(BehindABranch), with_classes(BehindABranch)
    verified._dense.add(second.network)
    for name in ("unrolled_gn", "unrolled_gn_moved"):
        ours, theirs = (next(iter(fimo.attribute(one, name, training).values())) for one in (first, second))
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10 * float(abs(theirs).max()))


@pytest.mark.parametrize("kind", [kind for kind in VARIANTS if VARIANTS[kind]])
def test_a_source_by_itself_gives_no_wrong_factors(kind):
    one = with_classes(kind)
    source, dense = GradientSource(one), GradientSource(one, factored=False)
    first = one.train.keep(slice(0, 2))
    torch.testing.assert_close(source(first).inner(source(first)), dense(first).inner(dense(first)))
    with pytest.raises(fimo.UserError, match=rf"{VARIANTS[kind]}\. Take them as they are, by GradientSource"):
        source(one.train)


class Furtive(Variant):
    """The weight is used a second time, where no hook sees it."""

    def hidden(self, inputs, special):
        return torch.tanh(self.inner(inputs)) @ self.inner.weight


def test_first_rows_without_a_gradient_prove_nothing():
    torch.manual_seed(0)
    network = Furtive().eval()
    targets = torch.randn(len(ROWS), 2).double()
    targets[:2] = network(ROWS[:2]).detach()
    one = question(network, ROWS, targets, fimo.SquaredError(), test=slice(10, 14))
    assert float(GradientSource(one, factored=False)(one.train).norms()[:2].max()) == 0
    for label in ("Grad-Dot", "DataInf"):
        scores = attribute(one, METHODS[label].make())
        np.testing.assert_allclose(scores, reference.scores(one, METHODS[label].matrix(one)), rtol=1e-10, atol=1e-16)


def test_rows_are_verified_once_in_a_computation(monkeypatch):
    one, looks = problem("classification"), []
    look = verified.Computation.verifies
    monkeypatch.setattr(verified.Computation, "verifies", lambda *them: looks.append(look(*them)) or looks[-1])
    attribute(one, METHODS["CG"].make())
    # The first two rows, some that say what the dual takes, all training rows twice, the left-out ones, the test rows.
    assert looks == [True, True, True, False, True, True]
