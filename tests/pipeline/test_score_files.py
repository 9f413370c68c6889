"""Scores that were computed elsewhere, read from a file."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from configs import app, make_run
from problems import problem

import fimo
from fimo.pipeline import addresses
from fimo.pipeline.score_files import FileScores

FEW = ("experiment=diabetes", "data.test_count=5", "data.left_out=6")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A run's files, as if another program had written them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    assert app(folder, *FEW, "method=[grad_dot,unrolled_gn]") == 0
    return folder


def rows_of(folder):
    return pd.read_csv(folder / "results/diabetes/scores.csv").set_index("method")


def test_files_of_both_kinds_are_compared_like_the_method_itself(elsewhere, tmp_path):
    (netcdf,) = elsewhere.glob("outputs/diabetes/scores/grad_dot-*/scores.nc")
    shuffled = rows_of(elsewhere).loc[["Grad-Dot"]].sample(frac=1, random_state=0)
    shuffled[["test", "left_out", "score"]].to_csv(tmp_path / "plain.csv", index=False)  # no method, no step
    table = elsewhere / "results/diabetes/scores.csv"
    for name, path, more in (
        ("netcdf", netcdf, ("method.file.label=Elsewhere",)),
        ("csv", tmp_path / "plain.csv", ("method.file.label=Elsewhere",)),
        ("several", table, ("method.file.name=Grad-Dot",)),
        ("steps", table, ("method.file.name=Unrolled-GN", "method.file.label=Unrolled-GN")),
    ):
        assert app(elsewhere, *FEW, "method=file", f"method.file.path={path}", *more, f"name={name}") == 0
        curves = pd.read_csv(elsewhere / f"results/{name}/curves.csv")
        own = pd.read_csv(elsewhere / "results/diabetes/curves.csv")
        own = own[own["method"] == ("Unrolled-GN" if name == "steps" else "Grad-Dot")].reset_index(drop=True)
        pd.testing.assert_frame_equal(curves.drop(columns="method"), own.drop(columns="method"), rtol=1e-12)
        label = {"several": "Grad-Dot", "steps": "Unrolled-GN"}.get(name, "Elsewhere")
        assert curves["method"].unique().tolist() == [label]


def test_the_address_is_of_the_content(elsewhere, tmp_path):
    def address(path, *more):
        run = make_run("size=smoke", *FEW, "method=file", f"method.file.path={path}", *more)
        return addresses.scores(run, "file").hash

    rows, first, second = rows_of(elsewhere).loc[["Grad-Dot"]], tmp_path / "a.csv", tmp_path / "b.csv"
    rows.to_csv(first)
    rows.to_csv(second)
    assert address(first) == address(second, "method.file.label=Other")
    assert address(first) != address(first, "method.file.name=Grad-Dot") != address(first, "further.epochs=3")
    rows.assign(score=2 * rows["score"]).to_csv(second)
    assert address(first) != address(second)


CHANGES = {
    "left_out 59 is missing": lambda rows: rows[rows["left_out"] != 58],
    "one pair": lambda rows: rows.iloc[1:],
    "twice": lambda rows: pd.concat([rows, rows.iloc[:1]]),
    "text": lambda rows: rows.assign(test=rows["test"].map("row {}".format)),
    "no column": lambda rows: rows.drop(columns="score"),
    "no steps": lambda rows: rows.assign(step=7),
}


@pytest.mark.parametrize(
    "change, text",
    [
        (
            "left_out 59 is missing",
            r"must cover every left_out of this run \(6, from 0 to 294\), found 1 of them missing, the ",
        ),
        ("twice", "must have one score for each test and left_out, found two of test 0, left_out 0"),
        ("text", "test in .*a.csv must be integers, found 'row 0'"),
        ("no column", "must have the columns test, left_out, score, and possibly step and method, found no score"),
        ("no steps", "must cover every step of this run"),
        ("one pair", "must be finite numbers, found 1 of 30 missing or not finite, the first at test 0, left_out 0"),
    ],
)
def test_files_that_do_not_fit(change, text, elsewhere, tmp_path):
    rows = rows_of(elsewhere).loc[["Grad-Dot"]].reset_index()
    CHANGES[change](rows).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(fimo.UserError, match=text):
        app(elsewhere, *FEW, "method=file", f"method.file.path={tmp_path}/a.csv", "name=other")


def test_a_file_that_does_not_fit_is_told_before_the_final_model_is_trained(elsewhere, tmp_path):
    path = elsewhere / "results/diabetes/scores.csv"
    with pytest.raises(fimo.UserError, match="must cover every left_out"):
        app(tmp_path, *FEW, "data.left_out=7", "method=file", f"method.file.path={path}", "method.file.name=Grad-Dot")
    assert not list(tmp_path.glob("outputs/diabetes/final/*"))


@pytest.mark.parametrize(
    "make, text",
    [
        (
            lambda path: path.write_text("no scores"),
            "must be a NetCDF file of version 4, or end in .csv, and can't be read",
        ),
        (
            lambda path: xr.Dataset({"a": ("x", [1.0]), "b": ("x", [1.0])}).to_netcdf(path, engine="h5netcdf"),
            "must have the variable score, found a, b: choose one by its name",
        ),
        (
            lambda path: xr.Dataset({"score": ("x", [1.0])}).to_netcdf(path, engine="h5netcdf"),
            "score in .* must have the dimensions test and left_out, and possibly step, found x",
        ),
        (
            lambda path: xr.Dataset({"score": (("test", "left_out"), np.ones((5, 6)))}).to_netcdf(
                path, engine="h5netcdf"
            ),
            "must label its axis test with integers .* found no labels",
        ),
    ],
)
def test_netcdf_files_that_have_no_scores(make, text, tmp_path):
    make(tmp_path / "scores.nc")
    with pytest.raises(fimo.UserError, match=text):
        fimo.attribute(problem(), FileScores(str(tmp_path / "scores.nc")))


def test_scores_of_other_steps_are_refused_in_python_too():
    question, training = problem(), fimo.FurtherTraining(torch.optim.SGD, lr=0.01, epochs=2, batch_size=8)
    gold = fimo.further_train(question, training, seeds=1)
    scores = fimo.attribute(question, "unrolled_gn", training)
    other = {label: score.assign_coords(step=score["step"] + 1) for label, score in scores.items()}
    with pytest.raises(fimo.UserError, match="The scores of Unrolled-GN must cover every step of this run"):
        fimo.compare(other, gold)
