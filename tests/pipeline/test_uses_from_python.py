"""rank and verify from Python: tables, what is refused, and arguments of any kind."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import fimo
from fimo.errors import UserError


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(66, 5, generator=generator)
    targets = (inputs[:, 0] + 0.3 * torch.randn(66, generator=generator) > 0).long()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    rows = (inputs[:60], targets[:60]), (inputs[60:], targets[60:])
    return fimo.Problem(network, fimo.CrossEntropy(), *rows, left_out=[0])


def test_from_python():
    asked, training = problem(), fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=3, batch_size=16)
    ranking = fimo.rank(asked, ["grad_dot", "unrolled_gn"], training, top=12, amounts=[1, 3])
    scores = fimo.attribute(fimo.Problem(asked.network, asked.objective, asked.train, asked.test, "all"), "grad_dot")
    best = ranking.rows.query("method == 'Grad-Dot' and test == 2 and rank <= 12")
    expected = scores["Grad-Dot"].sel(test=2)
    order = np.argsort(-expected.values, kind="stable")[:12]
    assert best["train"].tolist() == order.tolist()
    np.testing.assert_allclose(best["score"], expected.values[order])
    assert ranking.self_influence["step"].dropna().unique().tolist() == [4, 12]
    np.testing.assert_allclose(ranking.mean.query("method == 'Grad-Dot'")["score"], scores["Grad-Dot"].mean("test"))

    shares = {"tests": [1, 4], "shares": (0.1, 0.2), "seeds": 2, "random": 3}
    verified = fimo.verify(asked, ["grad_dot", "unrolled_gn"], training, **shares)
    again = fimo.verify(asked, ranking, training, **shares)
    assert verified.table["measured_mean"].notna().all() and set(verified.table["test"]) == {1, 4}
    assert verified.table.equals(again.table) or np.allclose(
        verified.table.select_dtypes(float), again.table.select_dtypes(float), equal_nan=True
    )
    assert verified.figure("title").axes
    with pytest.raises(UserError, match="belongs to another final model, objective or measurement, or to other rows"):
        fimo.verify(problem(1), ranking, training, **shares)
    others = replace(asked, test=replace(asked.test, inputs=asked.test.inputs.flip(0)))  # under the same numbers
    last_layer = fimo.Problem(asked.network, asked.objective, asked.train, asked.test, [0], parameters="last_layer")
    for changed in (others, replace(asked, measurement=fimo.margin), last_layer):
        with pytest.raises(UserError, match=r"objective or measurement, or to other rows or parameters \(θ\): call"):
            fimo.verify(changed, ranking, training, **shares)
    with pytest.raises(UserError, match="raise rank.top, or lower verify.shares"):
        fimo.verify(asked, ranking, training, shares=(0.5,), tests=1)
    with pytest.raises(UserError, match="15 for the largest of verify.shares, found 12 by Grad-Dot"):
        fimo.verify(asked, ranking, training, shares=(0.25,), tests=1)  # both ends together would be enough
    for results in (ranking.rows, scores):
        with pytest.raises(UserError, match="methods must be names or objects, .*found a (DataFrame|dict): call"):
            fimo.verify(asked, results, training)


@pytest.mark.parametrize("changed", [{"lr": 0.5}, {"momentum": 0.9}, {"epochs": 4}, {"batch_size": 8}], ids=str)
def test_a_ranking_for_other_further_training_is_refused(changed):
    settings = {"lr": 0.05, "epochs": 3, "batch_size": 16}
    training = fimo.FurtherTraining(torch.optim.SGD, **settings)
    ranking = fimo.rank(problem(), ["grad_dot", "unrolled_gn"], training, top=12)
    other = fimo.FurtherTraining(torch.optim.SGD, **{**settings, **changed})
    shares = {"tests": 1, "shares": (0.1,), "seeds": 1, "random": 2}
    with pytest.raises(UserError, match=r"ranking has scores of Unrolled-GN for other further training \(SGD \(lr="):
        fimo.verify(problem(), ranking, other, **shares)
    independent = replace(ranking, rows=ranking.rows.query("method == 'Grad-Dot'"))
    assert fimo.verify(problem(), independent, other, **shares).agreement["method"].tolist() == ["Grad-Dot"]
    same = fimo.FurtherTraining(torch.optim.SGD, **settings, momentum=0)
    assert len(fimo.verify(problem(), ranking, same, **shares).agreement) == 2


def test_the_harmful_end_from_python():
    """The rows that leave are the last of each ranking; of a stored ranking they are the same."""
    asked, training = problem(), fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=3, batch_size=16)
    ranking = fimo.rank(asked, ["unrolled_gn"], training, top=12)
    shares = {"tests": 6, "shares": (0.1,), "seeds": 2, "random": 3, "end": "harmful"}
    verified = fimo.verify(asked, ranking, training, **shares)
    again = fimo.verify(asked, ["unrolled_gn"], training, **shares)
    own = verified.table.query("method == 'Unrolled-GN'")
    assert own["test"].tolist() == list(range(6))
    np.testing.assert_allclose(own["measured_mean"], again.table.query("method == 'Unrolled-GN'")["measured_mean"])
    last = ranking.rows.query("rank > 54").groupby("test")["score"].sum()
    np.testing.assert_allclose(own["predicted"], last)
    assert (own["predicted"] < 0).all() and (own["measured_mean"] < 0).all()
    assert "most harmful first" in verified.figure().axes[0].get_xlabel()


ASKED = {"tests": [0, 2], "shares": (0.05, 0.051), "random": 2}
KINDS = [
    {"shares": 0.05},
    {"shares": np.array([0.05])},
    {"tests": np.array([0, 2])},
    {"tests": torch.tensor([0, 2])},
    {"random": np.int64(2)},
]


@pytest.mark.parametrize("changed", KINDS, ids=str)
def test_numbers_of_any_kind_from_python(changed):
    """Arrays and single numbers say what lists do; shares that are as many rows are one."""
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=1, batch_size=16)
    expected = fimo.verify(problem(), "grad_dot", training, seeds=1, **ASKED).table
    assert len(expected) == 4
    pd.testing.assert_frame_equal(
        fimo.verify(problem(), "grad_dot", training, seeds=1, **{**ASKED, **changed}).table, expected
    )


NO_NUMBERS = [({"shares": []}, "shares must be"), ({"random": 1}, "random must be a whole"), ({"tests": 0.5}, "tests")]


@pytest.mark.parametrize("changed, message", NO_NUMBERS, ids=str)
def test_what_can_not_be_from_python(changed, message):
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=1, batch_size=16)
    with pytest.raises(UserError, match=message):
        fimo.verify(problem(), "grad_dot", training, **{**ASKED, **changed})


def test_fewer_test_examples_than_are_verified_otherwise():
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=1, batch_size=16)
    few = replace(problem(), test=problem().test.keep(torch.tensor([2, 4])))
    for asked, tests in ((few, [2, 4]), (problem(), [0, 1, 2, 3, 4])):
        verified = fimo.verify(asked, "grad_dot", training, shares=(0.05,), seeds=1, random=2)
        assert verified.table.query("method == 'Grad-Dot'")["test"].tolist() == tests


def test_of_few_rows_all_are_ranked():
    rows = problem().train.keep(torch.arange(12)), problem().test
    few = fimo.Problem(problem().network, fimo.CrossEntropy(), *rows)
    ranking = fimo.rank(few, "grad_dot").rows
    assert sorted(ranking.query("test == 0")["train"]) == list(range(12))
    with pytest.raises(UserError, match=r"top \(rank.top\) must be a whole number from 1 to 12 .*, found 20"):
        fimo.rank(few, "grad_dot", top=20)
