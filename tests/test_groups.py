"""Groups of training rows: forms, labels, sums; and their scores, which are the sums of their rows' scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from methods import METHODS
from preconditioners.test_path import STEPS, somewhere
from problems import problem
from recursions import recursion

from fimo.attribution import attribute
from fimo.groups import Groups
from fimo.unrolled.trajectory import RunState, Trajectory
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

LISTS = [[4, 3], [22], [3, 0, 11, 7]]


NAMED = {"a": LISTS[0], "b": torch.tensor([22]), "c": np.array(LISTS[2])}


@pytest.mark.parametrize("given", [LISTS, NAMED, tuple(LISTS)])
def test_forms(given):
    groups = Groups.of(given, 23)
    assert groups.lists == [[3, 4], [22], [0, 3, 7, 11]] and groups.sizes.tolist() == [2, 1, 4]
    assert groups.rows.tolist() == [0, 3, 4, 7, 11, 22] and groups.labels(torch.arange(23)).tolist() == [0, 1, 2]
    assert groups.names == (("a", "b", "c") if isinstance(given, dict) else ("group 0", "group 1", "group 2"))
    index = torch.arange(100, 123)
    assert groups.described(index)[1] == {"name": groups.names[1], "rows": [122]}
    values = torch.rand(2, 6)
    assert torch.equal(
        groups.summed(values), torch.stack([values[:, [1, 2]].sum(1), values[:, 5], values[:, [0, 1, 3, 4]].sum(1)], 1)
    )


def test_single_rows():
    for given in ([5, 2], range(5, 1, -3), torch.tensor([5, 2])):
        groups = Groups.of(given, 9)
        assert groups.rows.tolist() == [5, 2] and groups.described(torch.arange(9)) is None
        assert groups.labels(torch.arange(10, 19)).tolist() == [15, 12]
    assert Groups.of("all", 4).rows.tolist() == [0, 1, 2, 3]
    few = Groups.of([[9, 4], [2]], 10).at(torch.tensor([2, 4, 7, 9]))
    assert few.lists == [[1, 3], [0]]


def assert_sums(single, score):
    """Scores of groups are the sums of those of single rows, which stand first."""
    every, scores = score(single), score(replace(single, left_out=Groups.of(LISTS, 23)))
    assert scores["left_out"].values.tolist() == [0, 1, 2]
    expected = np.stack([every.values[..., rows].sum(-1) for rows in LISTS], -1)
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_the_score_of_a_group_is_the_sum_of_its_rows(name, network):
    assert_sums(problem("classification", network, left_out="all"), lambda one: attribute(one, METHODS[name].make()))


@pytest.mark.parametrize("along_a_run", [False, True])
def test_also_where_scores_depend_on_the_amount_of_further_training(along_a_run):
    asked = problem("classification", left_out="all")
    views = Trajectory(list(map(RunState, somewhere(asked, len(STEPS))))) if along_a_run else None

    def score(one):
        return attribute(one, UnrolledGaussNewton("Unrolled-GN").for_training(recursion(STEPS)), views=views)

    assert_sums(asked, score)
