"""The eigenvalues of EK-FAC against the true gradients as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from brought_networks import question
from small_images import QUESTIONS, few_pixels, images
from torch import nn
from varied_networks import BehindABranch, Skips, Sorted, Twice, with_classes

from fimo.attribution import attribute
from fimo.curvature.roots import damping_root
from fimo.gradients import GradientSource, verified
from fimo.gradients.cotangents import of_curvature
from fimo.groups import Groups
from fimo.preconditioners import corrected_eigenvalues as room
from fimo.preconditioners.corrected_eigenvalues import corrected_eigenvalues
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.kronecker_bases import layer_bases
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.problem import Problem


def require_those_of_true_gradients(found, question, bases, kind="gauss_newton"):
    """Λ from every row's gradients as they are."""
    rows = GradientSource(question, factored=False)(question.train, damping_root(kind))
    for path, basis in bases.items():
        expected = basis.rotated(rows).entries.square().sum(0) / len(question.train)
        np.testing.assert_allclose(found[path], expected, rtol=1e-9, atol=1e-12 * float(expected.max()))


@pytest.mark.parametrize("kind", ["gauss_newton", "empirical_fisher"])
@pytest.mark.parametrize("cache_bytes, block_bytes", [(1, 2**27), (4 * 2**20, 1)])
@pytest.mark.parametrize("name", QUESTIONS)
def test_they_are_those_of_the_true_gradients(name, cache_bytes, block_bytes, kind, monkeypatch):
    """With a single gradient at a time, and with a single row in each block."""
    monkeypatch.setattr(room, "CACHE_BYTES", cache_bytes)
    monkeypatch.setattr(room, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(room, "_of_gradients", None)  # all of these have layers that can be taken by themselves
    question = QUESTIONS[name]()
    bases = dict(layer_bases(question, damping_root(kind)))
    found = corrected_eigenvalues(question, GradientSource(question), bases, damping_root(kind), rescaled=False)
    require_those_of_true_gradients(found, question, bases, kind)


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("network", [BehindABranch, Skips, Sorted, Twice])
def test_gradients_are_taken_as_they_are_where_a_layer_has_not_its_own_rows(network, caplog, monkeypatch):
    monkeypatch.setattr(verified, "_warned", set())  # of other tests
    question = with_classes(network)
    bases, source = dict(layer_bases(question)), GradientSource(question, factored=False)
    found = corrected_eigenvalues(question, source, bases, of_curvature, rescaled=False)
    assert "are taken as they are and not in factors" in caplog.text
    require_those_of_true_gradients(found, question, bases)


class SharedBias(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)
        self.second.bias = self.first.bias
        self.head = nn.Linear(8, classes)

    def forward(self, inputs):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(inputs)))).flatten(1))


class Again(nn.Module):
    """A layer that is called twice, between two that are called once."""

    def __init__(self, classes):
        super().__init__()
        self.first, self.again, self.head = nn.Linear(72, 9), nn.Linear(9, 9), nn.Linear(9, classes)

    def forward(self, inputs):
        hidden = torch.tanh(self.first(inputs.flatten(1)))
        return self.head(torch.tanh(self.again(torch.tanh(self.again(hidden)))))


class Shared(nn.Module):
    """Two layers that are called with one vector and one image for all rows."""

    def __init__(self, classes):
        super().__init__()
        self.vector, self.image = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(2, 6, 6))
        self.of_vector, self.of_image = nn.Linear(5, 72), nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Linear(72, classes)

    def forward(self, inputs):
        more = self.of_image(self.image).flatten() + self.of_vector(self.vector)
        return self.head(torch.tanh(inputs.flatten(1) + more))


def without_a_bias(name):
    """Of few pixels, a bias that is not in θ."""
    one = images(few_pixels)
    theta = [parameter for parameter in one.parameters if parameter != name]
    return Problem(one.network, one.objective, one.train, one.test, one.left_out, parameters=theta)


@pytest.mark.parametrize("factored", [True, False])
@pytest.mark.parametrize(
    "make, others",
    [
        (lambda: images(SharedBias), {"first", "second"}),
        (lambda: images(Again), {"again"}),
        (lambda: images(Shared), {"of_vector", "of_image"}),
        (lambda: without_a_bias("0.bias"), {"0"}),
        (lambda: without_a_bias("5.bias"), {"5"}),
    ],
    ids=["a shared bias", "called twice", "shared inputs", "a frozen bias", "a frozen bias of the head"],
)
def test_gradients_are_taken_of_the_layers_alone_that_need_them(make, others, factored, monkeypatch):
    question, taken = make(), []
    of_gradients = room._of_gradients
    monkeypatch.setattr(room, "_of_gradients", lambda *given: [taken.append(set(given[2])), of_gradients(*given)][1])
    bases, source = dict(layer_bases(question)), GradientSource(question, factored=factored)
    found = corrected_eigenvalues(question, source, bases, of_curvature, rescaled=False)
    assert taken == [others] and found.keys() == bases.keys()
    require_those_of_true_gradients(found, question, bases)


class Packed(nn.Module):
    """Two tokens of each row on one axis; those of more than two rows are packed in another order."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(24, 24), nn.Linear(24, 2)
        self.double()

    def forward(self, inputs):
        rows = len(inputs)
        order = torch.arange(2 * rows)
        if rows > 2:
            order = torch.cat([order[0::2], order[1::2]])
        tokens = torch.stack([inputs, inputs.flip(1)], 1).flatten(0, 1)
        return self.head(torch.tanh(self.inner(tokens[order])[order.argsort()]).unflatten(0, (rows, 2)).sum(1))


@pytest.mark.usefixtures("together")
def test_a_block_that_was_found_wrong_is_not_taken_for_right_afterwards(caplog, monkeypatch):
    """Left-out and test rows are too few to show it: only the fit to all training rows does."""
    monkeypatch.setattr(verified, "_warned", set())
    rows = torch.randn(16, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = []
    for dense in (False, True):
        torch.manual_seed(0)
        one = question(Packed(), rows, (rows[:, 0] > 0).long(), test=slice(0, 2))
        one = replace(one, left_out=Groups.of([0, 3], len(one.train)))
        if dense:
            verified._dense.add(one.network)
        scores.append(attribute(one, KroneckerFactors("EK-FAC", Damping(0.1, "mean_eigenvalue"))))
    np.testing.assert_allclose(*scores, rtol=1e-9)
    assert caplog.text.count("inner has some rows in the places of others") == 1


@pytest.mark.parametrize("network", [SharedBias, few_pixels])
def test_products_of_gradients_as_they_are_are_those_in_the_bases(network):
    method = KroneckerFactors("EK-FAC", Damping(0.5)).fit(images(network))
    gradients = GradientSource(method.problem, factored=False)(method.problem.train)
    products = (method @ gradients).inner(gradients)
    torch.testing.assert_close(products, (method @ gradients).inner(method.for_both(gradients)))
    torch.testing.assert_close(products.diagonal(), method.quadratic_form(gradients))
