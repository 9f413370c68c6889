"""A loss or a measurement of one's own: what is taken, and what is refused in a sentence."""

import numpy as np
import pytest
import torch
from methods import SHARE
from torch import nn
from torch.nn import functional

import fimo
from fimo.errors import MethodFailed
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.vmapping import _warned

INPUTS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
CLASSES, NUMBERS = (INPUTS.sum(1) > 0).long(), INPUTS[:, 0].clone()
WEIGHT = torch.tensor([1.0, 2.0])
TRAINING = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=7)


def asked(objective, targets=CLASSES, measurement=None):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    test = INPUTS[:5], targets[:5]
    return fimo.Problem(network, objective, (INPUTS, targets), test, left_out=[[0, 1], [2]], measurement=measurement)


def each(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none")


def masked(outputs, targets):
    losses = each(outputs, targets)
    losses[targets == 1] *= 2
    return losses


def one_by_one(outputs, targets):
    return torch.stack([-functional.log_softmax(row, 0)[int(y)] for row, y in zip(outputs, targets, strict=True)])


def gaussian(outputs, targets):
    return functional.gaussian_nll_loss(outputs[:, 0], targets[:, 0], outputs[:, 1].exp(), reduction="none")


def gaussian_by_hand(outputs, targets):
    return (outputs[:, 1] + (outputs[:, 0] - targets[:, 0]).square() / outputs[:, 1].exp()) / 2


class Counting:
    """It weighs its calls."""

    def __init__(self):
        self.calls = 0

    def loss(self, outputs, targets):
        self.calls += 1
        return each(outputs, targets) * self.calls


class Running(nn.Module):
    """A mean over the batches that it saw."""

    def __init__(self):
        super().__init__()
        self.register_buffer("level", torch.ones(()))

    def forward(self, outputs, targets):
        self.level.mul_(0.9).add_(0.1 * torch.softmax(outputs.detach(), -1).mean())
        return each(outputs, targets) / self.level


class Seen(nn.Module):
    """It counts rows in a tensor, and uses it nowhere."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rows", torch.zeros(()))

    def forward(self, outputs, targets):
        self.rows.add_(len(outputs))
        return each(outputs, targets)


@pytest.mark.parametrize(
    "own, same, targets",
    [
        # A module with a tensor in single precision, while losses are evaluated in double precision.
        (nn.CrossEntropyLoss(WEIGHT, reduction="none"), fimo.CrossEntropy(WEIGHT), CLASSES),
        (lambda f, y: each(f, y).double(), fimo.CrossEntropy(), CLASSES),
        # What `vmap` does not take.
        (masked, fimo.CrossEntropy(WEIGHT), CLASSES),
        (one_by_one, fimo.CrossEntropy(), CLASSES),
        (gaussian, gaussian_by_hand, NUMBERS),
    ],
    ids=["a module with weights", "double precision", "a mask", "rows one by one", "torch's Gaussian likelihood"],
)
@pytest.mark.parametrize("scheme", ["every_step", "drop"])
def test_losses_that_are_taken(own, same, targets, scheme):
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=7, leave_out=scheme)
    ours, theirs = (fimo.further_train(asked(one, targets), training, seeds=1) for one in (own, same))
    np.testing.assert_allclose(ours["loss_left_out"], theirs["loss_left_out"], rtol=1e-5)
    if scheme == "every_step":
        ours, theirs = (fimo.attribute(asked(one, targets), ["grad_dot", "cg"], TRAINING) for one in (own, same))
        for label in ours:
            expected = theirs[label].values
            np.testing.assert_allclose(ours[label], expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_rows_one_after_another_are_said(caplog):
    _warned.clear()
    fimo.attribute(asked(masked), "grad_dot")
    assert "The derivatives of masked are computed one after another, " in caplog.text


@pytest.mark.parametrize(
    "objective, targets, text",
    [
        (lambda f, y: each(f, y) / len(f), CLASSES, r"gives a row another number alone than beside others, by 300\.0%"),
        (lambda f, y: each(f - f.mean(0), y), CLASSES, "alone than beside others, .*: take no mean, sum"),
        (lambda f, y: each(f, y) * torch.rand(len(f)), CLASSES, "gives other numbers each time .*: it must draw no"),
        (
            lambda f, y: functional.cross_entropy(f, y, weight=WEIGHT, reduction="none"), CLASSES,
            r"outputs \[4, 2\] of torch.float64 .* It is evaluated in float64: tensors of its own have to",
        ),
        (lambda f, y: each(f.sub_(1), y), CLASSES, r"writes into the outputs that it is given: let it work on outputs"),
        (each, CLASSES.float(), r"can't take outputs \[4, 2\] of torch.float32 and targets \[4, 1\] of"),
        (lambda f, y: (f[:, :1].squeeze() - y.squeeze()) ** 2, NUMBERS, r"of a row by itself, found \[\]: squeeze no"),
        (lambda f: f.sum(1), CLASSES, r"and targets \[4\] of torch.int64 \(TypeError: .*takes 1 positional argument"),
        (lambda f, y: f[:, 7], CLASSES, r"\(IndexError: index 7 is out of bounds for dimension 1 with size 2\)\."),
        (lambda f, y: [1.0] * len(f), CLASSES, "must give a tensor, a number for each row, found a list"),
        (nn.MSELoss(reduction="none"), NUMBERS[:, None].repeat(1, 2), r"found \[4, 2\] .*: outputs, and targets that"),
        (Counting(), CLASSES, r"Counting\(calls=0\) gives other numbers each time that it is called: it must draw no"),
        (Running(), CLASSES, r"Running\(level=1.0\) gives other numbers each time that it is called"),
        (Seen(), CLASSES, r"Seen\(rows=0.0\) changes its own tensor rows where it is called: keep it as it is"),
        (fimo.CrossEntropy, CLASSES, r"must be an object, found the class CrossEntropy: call it, CrossEntropy\(\)\."),
        (lambda f, y: None, CLASSES, "must give a tensor, a number for each row, found a NoneType"),
        (lambda f, y: (f[:, 0] - y) ** 2, NUMBERS, r"\[4\], found \[4, 4\] for outputs \[4, 2\] of torch.float32"),
        (lambda f, y: each(f.detach(), y), CLASSES, "has no gradient. .* in its forward, or in a loss of one's"),
    ],
)  # fmt: skip
def test_losses_that_are_refused(objective, targets, text):
    with pytest.raises(fimo.UserError, match=text):
        asked(objective, targets)


def test_a_measurement_without_a_gradient_is_for_further_training():
    one = asked(fimo.CrossEntropy(), measurement=lambda f, y: f.argmax(-1) == y)
    before = fimo.further_train(one, TRAINING, seeds=1)["loss_before"]
    assert set(np.unique(before)) <= {0.0, 1.0}
    with pytest.raises(MethodFailed, match="lambda> has no gradient in the outputs, with which every method"):
        fimo.attribute(one, "grad_dot")


def test_a_measurement_that_is_infinite_at_the_final_model():
    one = asked(fimo.CrossEntropy(), measurement=lambda f, y: 1 / (f[:, 0] * y))
    with pytest.raises(fimo.UserError, match=r"measurement .* must be a finite .*, test rows 0 \(inf\), 1"):
        fimo.further_train(one, TRAINING, seeds=1)


def absolute(outputs, targets):
    return (outputs - targets).abs().mean(-1)


def test_a_loss_without_a_curvature():
    own, same = (asked(loss, NUMBERS[:, None].expand(-1, 2)) for loss in (absolute, fimo.AbsoluteError()))
    scores = fimo.attribute(own, ["cg", "ekfac", "unrolled_gn"], TRAINING)
    assert list(scores) == ["CG", "Unrolled-GN"]
    assert all("curves upwards at none of the rows" in one.attrs["notes"][0] for one in scores.values())
    with pytest.raises(MethodFailed, match="EK-FAC divides by a curvature, and that of absolute is 0 at all training"):
        fimo.attribute(own, "ekfac")
    method = KroneckerFactors("EK-FAC", SHARE, curvature="empirical_fisher")
    ours, theirs = (fimo.attribute(one, method)["EK-FAC"] for one in (own, same))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_loss_that_curves_downwards_is_no_reason_for_a_smaller_learning_rate():
    own = asked(lambda f, y: -f[:, 0].square(), NUMBERS)
    momentum = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, momentum=0.9, epochs=2, batch_size=7)
    assert all(list(fimo.attribute(own, "unrolled_gn", one)) == ["Unrolled-GN"] for one in (TRAINING, momentum))


def test_a_loss_without_a_second_derivative():
    own = asked(nn.MultiMarginLoss(reduction="none"))
    tangents = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=7, tangents=True)
    with pytest.raises(
        fimo.UserError, match=r"Tangents need second .* loss MultiMarginLoss\(.*: choose further.tangen"
    ):
        fimo.further_train(own, tangents, seeds=1)
    with pytest.raises(
        MethodFailed, match=r"CG needs a derivative .* or of the loss \(.* not been implemented yet\): c"
    ):
        fimo.attribute(own, "cg")


def test_what_is_no_measurement():
    with pytest.raises(fimo.UserError, match="measurement must be one of fimo's .*margin.*, found 'margin'"):
        asked(fimo.CrossEntropy(), measurement="margin")


def test_the_settings_of_a_module_are_in_its_address():
    shown = repr(asked(nn.CrossEntropyLoss(WEIGHT, reduction="none", label_smoothing=0.1)).objective)
    assert shown.startswith("CrossEntropyLoss(") and "weight=[1.0, 2.0]" in shown and "label_smoothing=0.1" in shown
    assert "hook" not in shown
