"""The results folder: whose it is, when it is written again, and that it is whole."""

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
import wandb
from configs import DATA, QUICK, app, files, needs_data

from fimo.errors import UserError
from fimo.models.mlp import MLP
from fimo.pipeline import artifacts
from fimo.pipeline.artifacts import read_run
from fimo.report.markdown import decimals_for, with_error

ROOT = Path(__file__).parents[2]


def test_results_of_another_config_are_not_overwritten(finished, tmp_path, capsys):
    before = files(tmp_path / "results/diabetes")
    assert app(tmp_path, *QUICK, "optimizer=adam") == 0
    (other,) = tmp_path.glob("results/diabetes-*")
    assert f"holds the results of another config: these go to {other}" in capsys.readouterr().out
    assert files(tmp_path / "results/diabetes") == before and (other / "run.json").is_file()
    # How fast and where is no other config.
    assert app(tmp_path, *QUICK, "further.runs_at_once=2", "threads=1") == 0
    assert len(list((tmp_path / "results").glob("*/run.json"))) == 2


def test_results_follow_what_they_were_made_from(finished, tmp_path, capsys):
    """Not "found" after more seeds arrived, another model lay at the same path, or the left-out file was edited."""
    assert app(tmp_path, *QUICK, "further.seeds=3", "name=three", name="compare") == 0  # two of three
    assert app(tmp_path, *QUICK, "further.seeds=3", "name=three") == 0
    assert set(pd.read_csv(tmp_path / "results/three/curves.csv")["n_seeds"]) == {3}

    weights, rows = tmp_path / "mine.pt", tmp_path / "rows.txt"
    rows.write_text("1 2 3")
    mine = (*QUICK[:2], f"data.left_out={rows}", f"final.checkpoint={weights}", "name=mine")
    for seed, listed in ((1, "1 2 3"), (2, "1 2 3"), (2, "4 5 6")):
        torch.manual_seed(seed)
        torch.save(MLP(10, 1, [64, 64]).state_dict(), weights)
        rows.write_text(listed)
        capsys.readouterr()
        assert app(tmp_path, *mine) == 0
        told = capsys.readouterr().out
        assert "comparison: found" not in told and "scores computed" in told
        scores = pd.read_csv(told.splitlines()[-1] + "/scores.csv")
        assert scores["left_out"].unique().tolist() == [int(row) for row in listed.split()]


@needs_data
def test_an_edited_workbook_is_another_problem(tmp_path, seeds_computed):
    (tmp_path / "energy").mkdir()
    path = tmp_path / "energy/ENB2012_data.xlsx"
    table = pd.read_excel(f"{DATA}/energy/ENB2012_data.xlsx", engine="calamine")
    for number in range(2):
        table.assign(Y1=table["Y1"] + number * table["X1"]).to_excel(path, index=False)
        edited = ("experiment=energy", f"paths.data_dir={tmp_path}", "data.source.sha256=null", "data.left_out=3")
        assert app(tmp_path, *edited) == 0
    assert seeds_computed == [0, 1, 0, 1]


def test_a_missing_result_file_is_written_again(finished, tmp_path):
    (tmp_path / "results/diabetes/curves.csv").unlink()
    assert app(tmp_path, *QUICK) == 0
    assert (tmp_path / "results/diabetes/curves.csv").is_file()


def test_claims_stand_in_the_results_folder(tmp_path):
    assert app(tmp_path, *QUICK, "method=[grad_dot,cg,unrolled_gn,unrolled_gn_moved]") == 0
    folder = tmp_path / "results/diabetes"
    table = pd.read_csv(folder / "claims.csv").set_index("claim")
    curves = pd.read_csv(folder / "curves.csv").query("adjustment == 'centred' and method == 'Grad-Dot'")
    expected = curves["cosine_mean"].iloc[0] - curves["cosine_mean"].iloc[-1]
    assert table.loc["first-order methods decay", "estimate"] == pytest.approx(expected, abs=1e-12)
    assert set(table["n_test"]) == {6} and set(table["n_seeds"]) == {2}
    text = (folder / "claims.md").read_text()
    decimals = decimals_for(table["standard_error"])
    told = {claim: with_error(row["estimate"], row["standard_error"], decimals) for claim, row in table.iterrows()}
    assert all(f"| {claim} | {numbers} |" in text for claim, numbers in told.items())
    assert {"claims.csv", "claims.md"} <= set(read_run(folder)["files"])


def test_results_that_are_written_halfway_are_not_finished(finished, tmp_path, monkeypatch):
    folder = tmp_path / "results/diabetes"
    run, written = read_run(folder), []
    inner = artifacts.write

    def failing(path, content):
        if len(written) == 2:
            raise OSError(28, "full")
        written.append(path)
        inner(path, content)

    monkeypatch.setattr(artifacts, "write", failing)
    with pytest.raises(OSError):
        artifacts.write_results(folder, {name: b"new" for name in run["files"]}, run)
    assert read_run(folder) is None


def test_what_a_kill_left_half_written_is_removed(finished, tmp_path):
    folder = tmp_path / "results/diabetes"
    (folder / artifacts.RUN).unlink()
    (folder / ".curves.csv.0f.tmp").write_bytes(b"half")
    assert app(tmp_path, *QUICK) == 0
    assert list(folder.glob(".*.tmp")) == []


def test_make_clean_results_never_touches_the_outputs(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("results/mine/curves.csv", "outputs/data/final/model/model.safetensors"):
        artifacts.write(tmp_path / name, b"content")
    before = files(tmp_path / "outputs")
    for _ in range(2):
        subprocess.run(["make", "clean-results"], cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path / "results").exists() and files(tmp_path / "outputs") == before != {}


def test_files_that_cannot_be_read(finished, tmp_path):
    run = tmp_path / "results/diabetes/run.json"
    run.write_text("{")
    with pytest.raises(UserError, match="run.json can't be read .*: remove it"):
        app(tmp_path, *QUICK)
    run.unlink()
    (manifest,) = tmp_path.glob("outputs/diabetes/further/*/manifest.json")
    manifest.write_text("")
    with pytest.raises(UserError, match="manifest.json can't be read .*: remove"):
        app(tmp_path, *QUICK)


def test_without_git(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (tmp_path / "results/diabetes" / artifacts.RUN).unlink()
    assert app(tmp_path, *QUICK) == 0
    assert read_run(tmp_path / "results/diabetes")["commit"] is None


def test_a_failure_ends_the_log(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(UserError, match="found 9999"):
        app(tmp_path, "data.left_out=[9999]", "logger=wandb", "logger.mode=offline")
    assert wandb.run is None
