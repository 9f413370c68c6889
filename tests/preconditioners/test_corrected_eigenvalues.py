"""The bases and eigenvalues of EK-FAC against those of other code: curvlinops, and the true gradients as they are."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from brought_networks import question
from curvlinops import KFACLinearOperator
from problems import problem, text_problem
from torch import nn
from varied_networks import LABELS, ROWS, BehindABranch, Experts, Skips, Sorted, Twice, with_classes

from fimo.attribution import attribute
from fimo.curvature.roots import damping_root
from fimo.errors import MethodFailed
from fimo.gradients import GradientSource, verified
from fimo.gradients.cotangents import of_curvature
from fimo.groups import Groups
from fimo.models.classification import CrossEntropy
from fimo.preconditioners import corrected_eigenvalues as room
from fimo.preconditioners.corrected_eigenvalues import corrected_eigenvalues
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.kronecker_bases import batches, layer_bases
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.layer_covariances import layer_covariances
from fimo.problem import Problem
from fimo.rows import Rows, rows_of


def images(network, classes=4):
    """Images of so many classes that a row has several scalars."""
    random = torch.Generator().manual_seed(0)
    rows = Rows(torch.randn(9, 2, 6, 6, generator=random), torch.arange(9) % classes, torch.arange(9))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = network(classes).eval()
    train, test = rows.keep(slice(0, 7)), rows.keep(slice(7, None))
    return Problem(network, CrossEntropy(), train, test, torch.tensor([0])).to(dtype=torch.float64)


def few_pixels(classes):
    """A wide layer on four pixels, whose factors are rotated, and a small one on 25, whose gradients are."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Conv2d(3, 16, 4, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(64, classes)
    )


class Patches(nn.Module):
    """Linear layers at places of each row, and on a matrix."""

    def __init__(self, classes):
        super().__init__()
        self.up, self.small = nn.Linear(12, 30), nn.Linear(30, 2, bias=False)
        self.head = nn.Linear(12, classes)

    def forward(self, inputs):
        places = inputs.reshape(len(inputs), 6, 12)
        return self.head(torch.tanh(self.small(torch.tanh(self.up(places)))).flatten(1))


QUESTIONS = {
    "few pixels": lambda: images(few_pixels),
    "linear layers at places": lambda: images(Patches),
    "three classes": lambda: problem("classification", "convolutional"),
    "regression": lambda: problem("regression", "convolutional"),
    "sentences of several lengths": lambda: text_problem(),
}


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


@pytest.mark.parametrize("network", [BehindABranch, Skips, Sorted, Twice])
def test_gradients_are_taken_as_they_are_where_a_layer_has_not_its_own_rows(network, caplog, monkeypatch):
    monkeypatch.setattr(verified, "_warned", set())  # of other tests
    question = with_classes(network)
    bases, source = dict(layer_bases(question)), GradientSource(question, factored=False)
    found = corrected_eigenvalues(question, source, bases, of_curvature, rescaled=False)
    assert "are taken as they are and not in factors" in caplog.text
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


class SharedBias(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)
        self.second.bias = self.first.bias
        self.head = nn.Linear(8, classes)

    def forward(self, inputs):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(inputs)))).flatten(1))


@pytest.mark.parametrize("network", [SharedBias, few_pixels])
def test_products_of_gradients_as_they_are_are_those_in_the_bases(network):
    method = KroneckerFactors("EK-FAC", Damping(0.5)).fit(images(network))
    gradients = GradientSource(method.problem, factored=False)(method.problem.train)
    products = (method @ gradients).inner(gradients)
    torch.testing.assert_close(products, (method @ gradients).inner(method.for_both(gradients)))
    torch.testing.assert_close(products.diagonal(), method.quadratic_form(gradients))


class TimeFirst(nn.Module):
    """A layer that is called with time, row, number."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 7), nn.Linear(7, 2)
        self.double()

    def forward(self, inputs):
        return self.head(torch.tanh(self.inner(torch.stack([inputs, inputs.flip(1), inputs.sin()]))).mean(0))


@pytest.mark.parametrize(
    "network, weighted",
    [(TimeFirst, False), (TimeFirst, True), (few_pixels, False), (few_pixels, True), (Experts, False)],
)
def test_covariances_do_not_depend_on_the_batches(network, weighted):
    if network is Experts:
        one = with_classes(Experts)
    elif network is TimeFirst:
        one = question(TimeFirst(), ROWS, LABELS, test=slice(0, 2))
    else:
        one = images(network)
    if weighted:
        weights = torch.rand(len(one.train), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        one = replace(one, train=one.train.weighted_by(weights))
    layers = {path: layer for path, layer in one.network.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}
    rows = torch.arange(len(one.train))
    together, *others = (layer_covariances(one, layers, rows.split(size)) for size in (99, 5, 1))
    for apart in others:  # a batch of one row has experts that no row goes to
        torch.testing.assert_close(apart, together)


def test_weights_of_rows_that_a_layer_does_not_tell_apart():
    one = with_classes(Experts)
    one = replace(one, train=one.train.weighted_by(torch.ones(len(one.train), dtype=torch.float64)))
    with pytest.raises(MethodFailed, match=r"can't weight the inputs of the layer experts\.0, which is called with"):
        dict(layer_bases(one))


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name != "regression"])
def test_bases_are_those_that_curvlinops_has(name):
    """Its covariances are diagonal in them: of sentences each counts alike, however long it is."""
    question = QUESTIONS[name]()
    network = copy.deepcopy(question.network)
    names = {name: module for name, module in network.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))}
    theirs = KFACLinearOperator(
        network,
        nn.CrossEntropyLoss(),
        [parameter for module in names.values() for parameter in module.parameters()],
        [question.train[part] for part in batches(question.train, 5)],
        fisher_type="type-2",
        separate_weight_and_bias=False,
        check_deterministic=False,
        num_per_example_loss_terms=1,
        num_data=len(question.train),
        batch_size_fn=rows_of,
    )
    theirs.compute_kronecker_factors()
    ours, found = dict(layer_bases(question)), theirs.state_dict()
    assert ours.keys() == names.keys()
    for path, basis in ours.items():
        for mine, what in ((basis.left, "gradient"), (basis.right, "input")):
            covariance = found[f"{what}_covariances"][path]
            rotated = mine.T @ covariance @ mine
            rest = rotated - torch.diag(rotated.diagonal())
            assert float(rest.norm()) < 1e-10 * float(covariance.norm())
