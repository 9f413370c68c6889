"""Methods that are no preconditioner: functions and objects of one's own."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from configs import app, make_run
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from problems import problem

import fimo
from fimo.app.errors import sentence
from fimo.groups import Groups
from fimo.pipeline import addresses
from fimo.pipeline.scorers import scorer_method

FEW = ("experiment=diabetes", "data.test_count=5", "data.left_out=6")


def similar(problem):
    """Inner products of the inputs, a tensor."""
    return problem.test.inputs @ problem.train.inputs[problem.left_out.rows].T


class Similar:
    label = "Similar inputs"

    def __init__(self, form):
        self.form = form

    def scores(self, problem):
        return self.form(similar(problem), problem.coordinates)


def labelled(values, coordinates):
    return xr.DataArray(values, coordinates, ("test", "left_out"))


def test_a_function_beside_a_named_method_and_what_an_object_may_give():
    question = problem()
    scores = fimo.attribute(question, ["grad_dot", similar, lambda problem: similar(problem).tolist()])
    assert list(scores) == ["Grad-Dot", "similar", "<lambda>"]
    expected = scores["similar"]
    np.testing.assert_array_equal(expected, similar(question))
    for axis in ("test", "left_out"):
        np.testing.assert_array_equal(expected[axis], scores["Grad-Dot"][axis])
    forms = {
        "array": lambda values, at: values.numpy(),
        "one that needs a gradient": lambda values, at: values.requires_grad_(),
        "labelled": labelled,
        "in another order": lambda values, at: labelled(values, at).T.isel(left_out=[2, 0, 3, 1], test=[3, 2, 1, 0]),
        "without labels": lambda values, at: xr.DataArray(values, dims=("test", "left_out")).T,
        "of more than is wanted": lambda values, at: labelled(values, at).pad(test=(0, 1), constant_values=np.nan),
    }
    for name, form in forms.items():
        xr.testing.assert_equal(fimo.attribute(question, Similar(form))["Similar inputs"], expected), name
    half = fimo.attribute(question, Similar(lambda values, at: values.bfloat16()))["Similar inputs"]
    np.testing.assert_allclose(half, expected, rtol=1e-2, atol=1e-2)


def test_groups_of_rows_have_a_score_each():
    question = problem()
    groups = replace(question, left_out=Groups.of([[0, 11], [3], [22, 3]], len(question.train)))
    singly = similar(question).numpy()  # of the rows 0, 3, 11 and 22
    expected = np.stack([singly[:, 0] + singly[:, 2], singly[:, 1], singly[:, 1] + singly[:, 3]], 1)
    scores = fimo.attribute(groups, ["grad_dot", lambda problem: problem.left_out.summed(similar(problem))])
    np.testing.assert_allclose(scores["<lambda>"], expected)
    np.testing.assert_array_equal(scores["<lambda>"]["left_out"], scores["Grad-Dot"]["left_out"])


def test_what_a_scorer_does_to_its_network_stays_there():
    def rough(problem):
        problem.network.train()
        for parameter in problem.network.parameters():
            parameter.data.zero_()
        return similar(problem)

    question = problem("classification", "dropout")
    scores = fimo.attribute(question, [rough, "grad_dot"])
    xr.testing.assert_equal(scores["Grad-Dot"], fimo.attribute(question, "grad_dot")["Grad-Dot"])


def raising(problem):
    return {}["nothing"]


@pytest.mark.parametrize(
    "scorer, error, text",
    [
        (raising, fimo.MethodFailed, r"raising raised KeyError: 'nothing' \(test_scorers.py, line \d+\)"),
        (
            lambda p: similar(p).T,
            fimo.MethodFailed,
            r"of <lambda> must be of shape \[test, left_out\] = \[5, 4\], found \[4",
        ),
        (lambda p: similar(p)[0], fimo.MethodFailed, r"\[test, left_out\] = \[5, 4\], found \[4\]"),
        (lambda p: None, fimo.MethodFailed, r"\[test, left_out\] = \[5, 4\], found \[\]"),
        (lambda p: "high", fimo.MethodFailed, "must be an array, tensor or DataArray of numbers, found a str"),
        (
            lambda p: similar(p).index_put((torch.tensor([2]), torch.tensor([1])), torch.tensor(torch.nan).double()),
            fimo.MethodFailed,
            "must be finite numbers, found 1 of 20 missing or not finite, the first at test 2, left_out 3",
        ),
        (
            lambda p: labelled(similar(p), p.coordinates).isel(left_out=[0, 2]),
            fimo.UserError,
            r"must cover every left_out of this run \(4, from 0 to 22\), found 2 of them missing, the first left_out 3",
        ),
        (Similar, fimo.UserError, "A method must be a name, a Preconditioner, a Method, a function scores"),
        (7, fimo.UserError, "or an object with such a method, found 7"),
    ],
)
def test_what_is_no_scores(scorer, error, text):
    with pytest.raises(error, match=text):
        fimo.attribute(problem(tests=5), [scorer])


OWN = """
import torch
def similar(problem, power=1):
    return (problem.test.inputs @ problem.train.inputs[problem.left_out.rows].T) ** power
class Far:
    def __init__(self, sign=-1):
        self.sign = sign
    def scores(self, problem):
        return self.sign * torch.cdist(problem.test.inputs, problem.train.inputs[problem.left_out.rows])
"""


@pytest.fixture
def own_file(tmp_path, monkeypatch):
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    (folder / "own_scores.py").write_text(OWN)
    return folder / "own_scores.py"


def test_by_command_beside_the_others(tmp_path, own_file):
    chosen = [
        "method=grad_dot",
        "+method.plain._target_=own_scores.similar",
        "+method.cubes._target_=own_scores.similar",
        "+method.cubes.power=3",
        "+method.cubes.label=Cubes",
        "+method.far._target_=own_scores.Far",
        "+method.far.label=Far away",
    ]
    assert app(tmp_path, *FEW, *chosen) == 0
    scores = pd.read_csv(tmp_path / "results/diabetes/scores.csv").set_index("method")["score"]
    assert list(dict.fromkeys(scores.index)) == ["Grad-Dot", "similar", "Cubes", "Far away"]
    np.testing.assert_allclose(scores["Cubes"], scores["similar"] ** 3, rtol=1e-6)
    assert (scores["Far away"] < 0).all()

    def hashes():
        run = make_run("size=smoke", *FEW, *chosen)
        return {name: addresses.scores(run, name).hash for name in run.methods}

    before = hashes()
    own_file.write_text(OWN + "# changed")
    after = hashes()
    assert len(set(before.values())) == 4 and before["grad_dot"] == after["grad_dot"]
    assert not {before[name] for name in ("plain", "cubes", "far")} & set(after.values())


@pytest.mark.parametrize(
    "override, text",
    [
        (
            "+method.mine._target_=own_scores.nothing",
            "method.mine._target_ must name a class or a function that can be imp",
        ),
        ("+method.mine._target_=own_scores.torch", "own_scores.torch must be a class or a function, found a module"),
        (
            "+method.mine._target_=own_scores.similar +method.mine.powr=2",
            "method.mine: .* can't be made with these settings",
        ),
        (
            "+method.mine._target_=own_scores.similar +method.mine.label=Grad-Dot",
            "labels must differ from each other, fou",
        ),
        ("+method.mine.power=2", "method.mine must have a _target_ that names a class or a function"),
        ("+method.mine._target_=fractions.Fraction", r"_target_ must name a Preconditioner, a function of a probl"),
        (
            "method=file method.file.path=/no/scores.nc",
            "method.file: path must be a file of scores, NetCDF or CSV, found no",
        ),
        ("method=file", "method.file.path must be given"),
    ],
)
def test_own_methods_that_can_not_be(override, text, own_file):
    with pytest.raises((fimo.UserError, HydraException, OmegaConfBaseException)) as raised:
        make_run("method=grad_dot", *override.split(" "))
    assert re.search(text, sentence(raised.value))


def test_a_method_made_by_hand_keeps_its_label():
    method = scorer_method(similar, label="By hand", dtype=torch.float32)
    assert fimo.attribute(problem(), [method])["By hand"].dtype == np.float64
