"""The bases and eigenvalues of EK-FAC against those of other code: curvlinops, and the true gradients as they are."""

import copy

import numpy as np
import pytest
import torch
from curvlinops import KFACLinearOperator
from problems import problem, text_problem
from torch import nn
from varied_networks import BehindABranch, Skips, Sorted, Twice, with_classes

from fimo.curvature.roots import damping_root
from fimo.gradients import GradientSource, verified
from fimo.gradients.cotangents import of_curvature
from fimo.models.classification import CrossEntropy
from fimo.preconditioners import corrected_eigenvalues as room
from fimo.preconditioners.corrected_eigenvalues import corrected_eigenvalues
from fimo.preconditioners.kronecker_bases import batches, layer_bases
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


def of_true_gradients(question, bases, kind="gauss_newton"):
    """Λ from every row's gradients as they are."""
    rows = GradientSource(question, factored=False)(question.train, damping_root(kind))
    return {path: basis.rotated(rows).entries.square().sum(0) / len(question.train) for path, basis in bases.items()}


@pytest.mark.parametrize("kind", ["gauss_newton", "empirical_fisher"])
@pytest.mark.parametrize("cache_bytes", [1, 4 * 2**20])
@pytest.mark.parametrize("name", QUESTIONS)
def test_they_are_those_of_the_true_gradients(name, cache_bytes, kind, monkeypatch):
    monkeypatch.setattr(room, "CACHE_BYTES", cache_bytes)
    monkeypatch.setattr(room, "_of_gradients", None)  # all of these have layers that can be taken by themselves
    question = QUESTIONS[name]()
    bases = dict(layer_bases(question, damping_root(kind)))
    source = GradientSource(question, block_bytes=3 * GradientSource(question).row_bytes)  # several blocks
    found = corrected_eigenvalues(question, source, bases, damping_root(kind), rescaled=False)
    for path, expected in of_true_gradients(question, bases, kind).items():
        np.testing.assert_allclose(found[path], expected, rtol=1e-9, atol=1e-12 * float(expected.max()))


@pytest.mark.parametrize("network", [BehindABranch, Skips, Sorted, Twice])
def test_gradients_are_taken_as_they_are_where_a_layer_has_not_its_own_rows(network, caplog, monkeypatch):
    monkeypatch.setattr(verified, "_warned", set())  # of other tests
    question = with_classes(network)
    bases, source = dict(layer_bases(question)), GradientSource(question, factored=False)
    found = corrected_eigenvalues(question, source, bases, of_curvature, rescaled=False)
    assert "are taken as they are and not in factors" in caplog.text
    for path, expected in of_true_gradients(question, bases).items():
        np.testing.assert_allclose(found[path], expected, rtol=1e-9, atol=1e-12 * float(expected.max()))


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
