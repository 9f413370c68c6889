"""Covariances of layers' inputs and of what comes back to their outputs, and the bases that are made of them."""

import copy
from dataclasses import replace

import pytest
import torch
from brought_networks import question
from curvlinops import KFACLinearOperator
from small_images import QUESTIONS, few_pixels, images
from torch import nn
from varied_networks import LABELS, ROWS, Experts, with_classes

from fimo.errors import MethodFailed
from fimo.preconditioners.kronecker_bases import batches, layer_bases
from fimo.preconditioners.layer_covariances import layer_covariances
from fimo.rows import rows_of


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
