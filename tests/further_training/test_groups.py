"""Further training without groups of rows against a plain loop over single runs."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from further_training.test_batch_norm import KINDS, UPDATED
from further_training.test_gold_standard import ALL, OPTIMIZERS, SCHEMES, assert_same, sweep
from further_training.test_tangents import assert_derivative
from problems import NETWORKS, Sentences, problem, text_problem

from fimo.groups import Groups
from fimo.randomness import seed_of
from fimo.reference import further_training as reference

# Of 23 rows in batches of 8: several of one batch, overlapping, one row, a batch and more, and all but two rows.
LISTS = [3, 4, 5, 20], [22, 0, 5], [11], list(range(9)), list(range(2, 23))
GROUPS = dict(zip(("some", "overlapping", "one", "a batch", "most"), LISTS, strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("optimizer", ["sgd, momentum", "adam, decay"])
@pytest.mark.parametrize("network", ["mlp", "vmap-shy"])
def test_equals_the_plain_loop(scheme, optimizer, network):
    """With `drop` a run without more rows than those of the last batch takes fewer steps in each epoch."""
    question = problem("classification", network, left_out=GROUPS)
    optimizer = OPTIMIZERS[optimizer]
    losses = sweep(question, optimizer=optimizer, leave_out=scheme, evaluate_every=2)[0]
    assert losses["left_out"].values.tolist() == [0, 1, 2, 3, 4]
    steps = [2, 4, 6, 8, 9]
    assert_same(losses, reference.gold_standard(question, optimizer, 3, 8, scheme, seed=0, evaluated=steps))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_chunks_and_seed_groups_do_not_matter(scheme):
    question, settings = problem(left_out=GROUPS), {"optimizer": OPTIMIZERS["adam"], "leave_out": scheme, "clip": 0.3}
    baseline = sweep(question, seeds=[0, 1], **settings)
    for width, together in [(1, 1), (2, 2)]:
        other = sweep(question, seeds=[0, 1], seeds_at_once=together, runs_at_once=width, **settings)
        for seed, losses in baseline.items():
            assert_same(other[seed], [losses[name].values for name in ALL])


def test_groups_of_one_are_single_rows():
    single = problem(left_out=(3, 0, 22))
    groups = replace(single, left_out=Groups.of([[3], [0], [22]], 23))
    for scheme in SCHEMES:
        one, other = (sweep(each, optimizer=OPTIMIZERS["adam"], leave_out=scheme)[0] for each in (single, groups))
        for name in ALL:
            np.testing.assert_array_equal(one[name].values, other[name].values)
        assert one["left_out"].values.tolist() == [3, 0, 22] and other["left_out"].values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("scheme", ["mask", "every_step"])
@pytest.mark.parametrize("width", [None, 2])
def test_dropout_and_sequences_equal_a_loop_with_the_same_masks(scheme, width):
    question = text_problem(Sentences, left_out=[[0, 9], [15, 3, 4], [9]])
    settings = {"optimizer": OPTIMIZERS["sgd"], "leave_out": scheme, "batch_size": 4}
    losses = sweep(question, seeds=[5], runs_at_once=width, **settings)[5]
    narrow = sweep(question, seeds=[5], runs_at_once=1, **settings)[5]
    assert_same(losses, [narrow[name].values for name in ALL])

    def draw(step, *place):
        torch.manual_seed(seed_of(5, step, *place))

    alike = replace(question, left_out=Groups.of([[0, 9, 2], [3, 4, 15]], 17))  # a mask is as large as the group
    losses = sweep(alike, seeds=[5], runs_at_once=width, **settings)[5]
    with torch.random.fork_rng():
        expected = reference.gold_standard(alike, OPTIMIZERS["sgd"], 3, 4, scheme, seed=5, draw=draw)
    assert_same(losses, expected)


@pytest.mark.parametrize("groups", [[[0, 9], [15], [1, 2, 3]], [list(range(9)), [4, 5]]])
def test_statistics_of_batches(groups, monkeypatch):
    monkeypatch.setitem(NETWORKS, "features", KINDS["features"])
    question = problem("classification", "features", rows=22, left_out=groups)
    losses = sweep(question, optimizer=OPTIMIZERS["adam"], **UPDATED)[0]
    assert_same(losses, reference.gold_standard(question, OPTIMIZERS["adam"], 3, 8, "drop", seed=0))


@pytest.mark.parametrize("network", ["mlp", "vmap-shy"])
def test_tangents_equal_finite_differences(network):
    question = problem("classification", network, left_out=[[0, 11], [22, 3, 4, 0], [7]])
    found = assert_derivative(question, partial(torch.optim.SGD, lr=0.02, momentum=0.9))
    single = replace(question, left_out=Groups.of([0, 11], 23))
    rows = sweep(single, seeds=[4], tangents=True, optimizer=partial(torch.optim.SGD, lr=0.02, momentum=0.9))[4]
    np.testing.assert_allclose(found["effect"][..., 0], rows["effect"].sum("left_out"), rtol=1e-9, atol=1e-12)
