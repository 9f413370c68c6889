"""Networks that take other rows another way than the first two: gradients are autograd's for every row."""

import re
from collections import OrderedDict

import numpy as np
import pytest
import torch
from brought_networks import question
from methods import METHODS
from problems import problem
from torch import nn
from torch.nn import functional
from varied_networks import (
    LABELS,
    ROWS,
    BehindABranch,
    BehindAGate,
    Experts,
    Furtive,
    Hooked,
    LastTwo,
    Never,
    Patched,
    Scaled,
    Skips,
    Sorted,
    Tied,
    Twice,
    with_classes,
)

import fimo
from fimo.attribution import attribute
from fimo.gradients import GradientSource, checks, verified
from fimo.gradients.cotangents import of_loss
from fimo.gradients.linear import LinearGradients
from fimo.gradients.network import NetworkGradients
from fimo.gradients.passes import recorded_calls
from fimo.models.objective import Objective
from fimo.preconditioners import mean_of_inverses
from fimo.reference import gradients as reference

# How each is found out: by the first two rows, or at a block of other rows, by this sentence.
VARIANTS = {
    BehindAGate: "inner.weight is also used where its layer is not called",
    BehindABranch: "inner.weight is also used where its layer is not called",
    Skips: "the layer inner is not called with every row once",
    Twice: "some rows call the layer inner 2 times and others once",
    Never: None,
    Experts: "the layer experts.0 is not called with every row once",
    Sorted: "the layer inner has some rows in the places of others",
    Tied: None,
    Hooked: "inner.weight is also used where its layer is not called",
    Scaled: None,
    Patched: "inner.weight is also used where its layer is not called",
}
FOUND_AT_THE_FIRST_ROWS = (BehindAGate, Patched)


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("kind", VARIANTS)
def test_every_method_is_right_whatever_the_first_rows_are_like(kind, caplog, monkeypatch):
    monkeypatch.setattr(verified, "_warned", set())  # of other tests
    for label in ("Grad-Dot", "DataInf", "CG", "TRAK"):
        one, method = with_classes(kind), METHODS[label]
        scores, expected = attribute(one, method.make()), reference.scores(one, method.matrix(one), method.unit)
        rtol = method.rtol if label == "TRAK" else 1e-10  # TRAK multiplies in float32
        np.testing.assert_allclose(scores, expected, rtol=rtol, atol=rtol * np.abs(expected).max(), err_msg=label)
    same_in_both_forms(kind, METHODS["EK-FAC"].make)
    messages = [message for message in caplog.messages if "not in factors" in message]
    assert len(messages) == (VARIANTS[kind] is not None)
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


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("kind", [kind for kind in VARIANTS if VARIANTS[kind] and kind not in FOUND_AT_THE_FIRST_ROWS])
def test_a_source_by_itself_gives_no_wrong_factors(kind):
    one = with_classes(kind)
    source, dense = GradientSource(one), GradientSource(one, factored=False)
    first = one.train.keep(slice(0, 2))
    torch.testing.assert_close(source(first).inner(source(first)), dense(first).inner(dense(first)))
    with pytest.raises(fimo.UserError, match=rf"{VARIANTS[kind]}\. Take them as they are, by GradientSource"):
        source(one.train)


class Transposed(nn.Module):
    """As many outputs as rows, and each row's are another one's: the layer's own, in another order in memory."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, len(ROWS))
        self.double()

    def forward(self, inputs):
        return self.inner(inputs).T


def test_outputs_that_are_the_layers_in_another_order():
    layers, labels = {"inner": LinearGradients}, torch.zeros(len(ROWS), dtype=torch.long)
    outputs, calls = recorded_calls(network := Transposed(), layers, ROWS)
    made = checks.Pass(network, layers, outputs, *([part] for part in calls["inner"][0]))
    cotangents = of_loss(fimo.CrossEntropy(), outputs.detach(), labels)
    deltas = torch.autograd.grad(outputs, made.results, cotangents[..., 0].contiguous(), retain_graph=True)
    assert deltas[0].T.is_contiguous()  # the very memory of the cotangents
    with pytest.raises(fimo.UserError, match="inner has some rows in the places of others"):
        checks.require_own_rows(made, cotangents, [deltas])


def excess(outputs, targets):
    """A loss without a gradient at rows whose outputs are below the targets."""
    return (outputs - targets).relu().square().sum(1)


def test_first_rows_without_a_gradient_prove_nothing():
    torch.manual_seed(0)
    network = Furtive().eval()
    targets = torch.randn(len(ROWS), 2).double()
    targets[:2] = 100  # not the outputs, which are rounded in another way on another processor
    one = question(network, ROWS, targets, excess, test=slice(10, 14))
    assert float(GradientSource(one, factored=False)(one.train).norms()[:2].max()) == 0
    for label in ("Grad-Dot", "DataInf"):
        scores = attribute(one, METHODS[label].make())
        np.testing.assert_allclose(scores, reference.scores(one, METHODS[label].matrix(one)), rtol=1e-10, atol=1e-16)


@pytest.mark.usefixtures("together")
def test_rows_are_verified_once_in_a_computation(monkeypatch):
    one, looks = problem("classification"), []
    once = verified.Computation.verify_once

    def watched(*them):
        *which, verify = them
        looks.append(False)
        once(*which, lambda: (verify(), looks.__setitem__(-1, True)))

    monkeypatch.setattr(verified.Computation, "verify_once", watched)
    attribute(one, METHODS["CG"].make())
    # The first two rows, some that say what the dual takes, all training rows for the curvature and for the damping,
    # the left-out ones, the test rows.
    assert looks == [True] * 6
    looks.clear()
    monkeypatch.setattr(mean_of_inverses, "MADE_ONCE_BYTES", 0)
    attribute(one, METHODS["DataInf"].make())
    # The first two rows, all training rows for dampings, the test rows, all training rows, the left-out ones.
    assert looks == [True, True, True, False, True]


def scaled(scale):
    """Cotangents of the loss, those of the last rows times a scale and all others very large."""

    def cotangents(objective, outputs, targets):
        vectors = of_loss(objective, outputs, targets)
        return torch.cat([vectors[:-4] * 1e6, vectors[-4:] * scale])

    return cotangents


@pytest.mark.usefixtures("together")
def test_rows_of_small_gradients_count_like_all_others():
    """A row's place in a layer is found out by what its own gradient is, not by how large those of others are."""
    one = with_classes(LastTwo)
    with pytest.raises(fimo.UserError, match="some rows in the places of others"):
        GradientSource(one)(one.train, scaled(1e-6))


@pytest.mark.parametrize("scale", [0.0, 1e-30, float("nan"), float("inf")])
def test_rows_of_any_gradients_are_no_reason_to_refuse_factors(scale):
    right = problem("classification")
    gradients = GradientSource(right)(right.train, scaled(scale))
    expected = GradientSource(right, factored=False)(right.train, scaled(scale))
    torch.testing.assert_close(gradients.norms(), expected.norms(), equal_nan=True)


def test_a_row_that_is_not_finite_is_no_reason_either():
    network = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2)).double().eval()
    one = question(network, ROWS.clone(), LABELS, fimo.CrossEntropy(), test=slice(10, 14))
    one.train.inputs[5, 1] = torch.nan  # later: a problem is not made of it
    norms = GradientSource(one)(one.train).norms()
    assert norms.isnan().nonzero().flatten().tolist() == [5]


class UnitLength(nn.Module):
    """Outputs of length one, so that a loss of the angle has no gradient at its least."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, inputs):
        return functional.normalize(self.head(torch.tanh(self.body(inputs))), dim=-1)


class Angle(Objective):
    """One minus the cosine."""

    real_targets = True

    def loss(self, outputs, targets):
        return 1 - (outputs * targets).sum(-1)


def test_gradients_that_cancel_to_rounding_are_no_reason_either():
    torch.manual_seed(0)
    network, inputs = UnitLength().eval(), ROWS.float()
    targets = functional.normalize(network(inputs).detach() + 1e-6 * torch.randn(len(ROWS), 2), dim=-1)
    one = question(network, inputs, targets, Angle(), test=slice(10, 14))
    assert isinstance(GradientSource(one)(one.train), NetworkGradients)


def test_one_output_of_many_that_is_another_rows_is_found_out():
    torch.manual_seed(0)
    network, rows = nn.Sequential(OrderedDict(body=nn.Linear(5, 400))), ROWS.float()
    call = network(rows)
    mixed = torch.cat([call.roll(1, 0)[:, :1], call[:, 1:]], 1)
    cotangents = torch.zeros_like(mixed)
    cotangents[:, 0] = torch.randn(len(rows))
    made = checks.Pass(network, {"body": LinearGradients}, mixed, [rows], [call])
    deltas = [torch.autograd.grad(mixed, [call], cotangents, retain_graph=True)]
    with pytest.raises(fimo.UserError, match="some rows in the places of others"):
        checks.require_own_rows(made, cotangents[..., None], deltas)
