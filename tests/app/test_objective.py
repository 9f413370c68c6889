"""Losses by command: those of the project, and a user's own function or class."""

import json

import numpy as np
import pandas as pd
import pytest
from configs import app, make_run
from hydra.errors import HydraException

from fimo.app.errors import sentence
from fimo.errors import UserError
from fimo.models.losses import CrossEntropy, SquaredError
from fimo.pipeline import addresses

BASE = ("experiment=diabetes", "data.test_count=6", "data.left_out=5", "method=[grad_dot,cg,ekfac,unrolled_gn]")


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """Scores with the usual loss, and the name of its final model's folder."""
    folder = tmp_path_factory.mktemp("usual")
    assert app(folder, *BASE, "name=usual") == 0
    (model,) = folder.glob("outputs/diabetes/final/*")
    return pd.read_csv(folder / "results/usual/scores.csv")["score"], model.name


@pytest.mark.parametrize(
    "chosen",
    [
        ("objective=huber", "objective.delta=0.5"),
        ("objective=absolute_error",),
        ("objective._target_=own_losses.cauchy", "+objective.scale=2"),
    ],
)
def test_a_run_with_another_loss(chosen, tmp_path, usual):
    usual, usual_model = usual
    assert app(tmp_path, *BASE, *chosen, "name=other") == 0
    other = pd.read_csv(tmp_path / "results/other/scores.csv")["score"]
    assert np.isfinite(other).all() and not np.allclose(usual, other)
    assert not list(tmp_path.glob(f"outputs/diabetes/final/{usual_model}"))  # the final model is trained for it too
    notes = json.loads((tmp_path / "results/other/run.json").read_text())["methods"]["CG"]["notes"]
    assert any("curvature is" in note for note in notes) == ("objective=huber" not in chosen)


def test_the_loss_of_the_task_is_the_default():
    assert type(make_run("experiment=diabetes").objective) is SquaredError
    assert repr(make_run("experiment=digits").objective) == repr(CrossEntropy())


def test_addresses_know_the_loss():
    choices = [
        (),
        ("objective=squared_error",),
        ("objective=huber",),
        ("objective=huber", "objective.delta=2"),
        ("objective._target_=own_losses.cauchy",),
        ("objective._target_=own_losses.cauchy", "+objective.scale=2"),
        ("objective._target_=own_losses.Cauchy",),
    ]
    runs = [make_run(*BASE, *chosen) for chosen in choices]
    for address in (addresses.final_model, addresses.further_training, lambda run: addresses.scores(run, "cg")):
        assert len({address(run).hash for run in runs}) == len(choices)


def test_class_weights_and_smoothing(tmp_path):
    few = ("experiment=breast_cancer", "data.test_count=4", "data.left_out=4", "method=[grad_dot,cg]")
    assert (
        app(tmp_path, *few, "objective=cross_entropy", "objective.weight=[1,3]", "objective.label_smoothing=0.1") == 0
    )


@pytest.mark.parametrize(
    "chosen, text",
    [
        (
            "objective._target_=nowhere.loss",
            "objective._target_ must name a function or class that can be imported, as in my_file.my_function, found ",
        ),
        ("objective._target_=own_losses.number", "The objective must be one of fimo's"),
        ("objective._target_=own_losses.mean", "The objective mean must give a loss for each row"),
        ("objective=huber objective.delta=0", "delta of Huber must be a number above 0, found 0"),
        ("objective=cross_entropy", "Targets of a cross-entropy must be class numbers"),
        (
            "experiment=digits objective=huber",
            "Targets of Huber must be real numbers [row, 10] like the ou",
        ),
        ("experiment=digits objective=cross_entropy objective.weight=[1,2]", "a number for each of 10 classes"),
    ],
)
def test_what_is_no_loss_here(chosen, text, tmp_path):
    with pytest.raises((UserError, HydraException)) as raised:
        app(tmp_path, *BASE, *chosen.split(" "))
    assert text in sentence(raised.value)


def test_another_measurement(tmp_path):
    """The final model and its training are the same; scores, seeds and the reader's words are another's."""
    few = ("experiment=breast_cancer", "data.test_count=4", "data.left_out=4", "method=[grad_dot,cg]")
    assert app(tmp_path, *few, "name=usual") == 0
    assert app(tmp_path, *few, "measurement=margin", "name=margin") == 0
    assert len(list(tmp_path.glob("outputs/breast_cancer/final/*"))) == 1
    assert len(list(tmp_path.glob("outputs/breast_cancer/further/*"))) == 2
    text = (tmp_path / "results/margin/influential.md").read_text()
    assert "leaving the example out raises the margin." in text and "raises it most (training row: score)" in text
    assert "raises the test loss, so it helped" in (tmp_path / "results/usual/influential.md").read_text()
    with pytest.raises(UserError, match="measurement margin is that of a class among several"):
        app(tmp_path, *BASE, "measurement=margin")
