"""Arguments of the stages from Python in the wrong place or of the wrong type: one sentence each, before any work."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

import fimo

CALLS = {"further_train": "problem, training", "compare": "scores, gold"}
OTHERS = "problem, methods, training"


@cache
def made():
    """A problem, further training, and results of the right form that no stage has to compute."""
    inputs, targets = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1] * 6)
    problem = fimo.Problem(nn.Linear(3, 2), fimo.CrossEntropy(), (inputs, targets), (inputs, targets), range(3))
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=1, batch_size=4)
    axes = {"test": range(12), "left_out": range(3)}
    scores = {"mine": xr.DataArray(np.zeros((12, 3)), axes, tuple(axes))}
    gold = xr.Dataset({"loss_before": (("seed", "test"), np.zeros((1, 12)))})
    ranking = fimo.Ranking(pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), "model")
    return {
        "p": problem,
        "t": training,
        "s": scores,
        "g": gold,
        "r": ranking,
        "n": problem.network,
        "sgd": torch.optim.SGD,
    }


PLACES = [
    ("further_train(t, p)", "problem must be a fimo.Problem, found a fimo.FurtherTraining"),
    ("further_train(p, None)", "training must be a fimo.FurtherTraining, found None"),
    ("further_train(p, sgd)", "training must be a fimo.FurtherTraining, found the class SGD"),
    ("attribute(['cg'], p)", r"problem must be a fimo.Problem, found a list \['cg'\]"),
    ("attribute(p, t)", "methods must be names or objects.*, found a fimo.FurtherTraining"),
    ("attribute(p, ['cg'], p)", "training must be a fimo.FurtherTraining, found a fimo.Problem"),
    ("attribute(p, r)", "methods must be names or objects.*, found a fimo.Ranking"),
    ("rank(n, 'cg')", "problem must be a fimo.Problem, found a Linear"),
    ("rank(p, t, ['cg'])", "methods must be .*, found a fimo.FurtherTraining"),
    ("rank(p, n)", "methods must be .*, found a Linear"),
    ("rank(p, None)", "methods must be .*, found None"),
    ("rank(p, [])", r"methods must be .*, found a list \[\]"),
    ("rank(p, 3)", "methods must be .*, found an int 3"),
    ("rank(p, 'cg', ['cg'])", "training must be a fimo.FurtherTraining, found a list"),
    ("verify(p, t, 'cg')", "methods must be .*, found a fimo.FurtherTraining"),
    ("verify(r, p, t)", "problem must be a fimo.Problem, found a fimo.Ranking"),
    ("verify(p, r, None)", "training must be a fimo.FurtherTraining, found None"),
    ("compare(g, s)", "gold must be what fimo.further_train returns, found a dict"),
    ("compare(p, g)", "scores must be what fimo.attribute returns, .*, found a fimo.Problem"),
    ("compare({'mine': 3}, g)", r"scores\['mine'\] must be real numbers in an xarray.DataArray .*, found an int 3"),
    ("compare({}, g)", "scores must be the scores of one method or more, found a dict"),
]


@pytest.mark.parametrize("call, message", PLACES, ids=[call for call, _ in PLACES])
def test_what_stands_in_the_wrong_place_is_named(call, message):
    """The error says which argument, what was found, and how the stage is called."""
    stage = call.partition("(")[0]
    with pytest.raises(fimo.UserError, match=message) as error:
        eval(f"fimo.{call}", {"fimo": fimo, **made()})
    assert str(error.value).endswith(f": call fimo.{stage}({CALLS.get(stage, OTHERS)}).")
    assert str(error.value).count("\n") == 0 and len(str(error.value)) < 220


VALUES = [
    ("further_train(p, t, seeds=None)", "seeds must be a number of seeds .*found None"),
    ("further_train(p, t, seeds='3')", "seeds must be .*found '3'"),
    ("further_train(p, t, seeds=2.5)", "seeds must be .*found 2.5"),
    ("further_train(p, t, seeds=[1, 1])", r"seeds must be .*found \[1, 1\]"),
    ("further_train(p, t, folder=3)", "folder must be the path of a folder, or None for none, found an int 3"),
    ("further_train(p, t, seeds=0)", "seeds must be a number of seeds of at least 1, or a list of .*, found 0"),
    ("verify(p, 'cg', t, seeds=True)", "seeds must be .*found True"),
    ("verify(p, 'cg', t, folder=t)", "folder must be .*, found a fimo.FurtherTraining"),
    ("verify(p, 'cg', t, shares='x')", "shares must be shares of the training rows, .*found x"),
    ("rank(p, 'cg', t, amounts=['a'])", r"amounts must be a list of epochs.*, found \['a'\]"),
    ("rank(p, 'cg', top=2, device='gpu')", "device must be auto, cpu, cuda or another device of torch, found 'gpu'"),
    ("attribute(p, 'cg', device=1.5)", "device must be .*, found 1.5"),
    ("rank(p, ['cg', r], top=2)", "A method must be a name.*, found <?Ranking"),
]


@pytest.mark.parametrize("call, message", VALUES, ids=[call for call, _ in VALUES])
def test_values_that_can_not_be_are_one_sentence(call, message):
    with pytest.raises(fimo.UserError, match=message) as error:
        eval(f"fimo.{call}", {"fimo": fimo, **made()})
    assert str(error.value).count("\n") == 0 and len(str(error.value)) < 240


@pytest.mark.parametrize("seeds", [2, np.int64(2), [0, 1], (0, 1), range(2), np.arange(2), torch.arange(2)], ids=repr)
def test_seeds_of_any_kind_are_the_same_seeds(seeds):
    gold = fimo.further_train(made()["p"], made()["t"], seeds)
    assert gold["seed"].values.tolist() == [0, 1]


def test_one_amount_is_a_list_of_one():
    rankings = [fimo.rank(made()["p"], "unrolled_gn", made()["t"], 2, amounts) for amounts in (1, [1.0])]
    pd.testing.assert_frame_equal(rankings[0].rows, rankings[1].rows)


def test_a_method_that_does_not_know_the_optimizer_is_left_out(caplog):
    problem = made()["p"]
    training = fimo.FurtherTraining(torch.optim.RMSprop, lr=1e-3, epochs=1, batch_size=8)
    assert list(fimo.attribute(problem, ["grad_dot", "unrolled_gn"], training)) == ["Grad-Dot"]
    assert "Unrolled-GN has no scores and is left out: " in caplog.text and "found RMSprop" in caplog.text
    with pytest.raises(fimo.UserError, match="found RMSprop"):
        fimo.attribute(problem, "unrolled_gn", training)
