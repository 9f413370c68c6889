"""The four stages: what is computed, what is found, where it goes."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from configs import QUICK, app, files, make_run

from experiments import attribute, further_train, train
from fimo.errors import UserError
from fimo.pipeline import addresses, seeds
from fimo.pipeline.artifacts import Artifact, read_run, write


def test_the_second_run_computes_nothing_and_says_so(tmp_path, seeds_computed, capsys):
    assert app(tmp_path, *QUICK) == 0
    before, told = files(tmp_path), capsys.readouterr().out
    assert told.splitlines()[-1] == str(tmp_path / "results/diabetes") and seeds_computed == [0, 1]
    assert app(tmp_path, *QUICK) == 0
    told = capsys.readouterr().out
    for words in ("final model: found", "Grad-Dot: scores found", "2 of 2 seeds found", "comparison: found"):
        assert words in told
    assert files(tmp_path) == before and seeds_computed == [0, 1]


def test_more_seeds_cost_only_the_new_ones(finished, tmp_path, seeds_computed):
    (folder,) = tmp_path.glob("outputs/diabetes/further/*")
    before = files(folder)
    assert app(tmp_path, *QUICK, "further.seeds=4", "further.seeds_at_once=2", "name=four") == 0
    assert seeds_computed == [2, 3]
    assert {k: v for k, v in files(folder).items() if k in before and k.suffix == ".nc"} == {
        k: v for k, v in before.items() if k.suffix == ".nc"
    }
    assert set(pd.read_csv(tmp_path / "results/four/curves.csv")["n_seeds"]) == {4}
    assert app(tmp_path, *QUICK, "further.first_seed=2", "further.seeds=2", "name=two") == 0
    assert seeds_computed == [2, 3]


def test_another_method_computes_scores_only(finished, tmp_path, seeds_computed, capsys):
    assert app(tmp_path, *QUICK, "method=[datainf,grad_dot]", "name=both") == 0
    told = capsys.readouterr().out
    assert "DataInf: scores computed" in told and "Grad-Dot: scores found" in told and "final model: found" in told
    assert seeds_computed == []
    assert list(pd.read_csv(tmp_path / "results/both/curves.csv")["method"].unique()) == ["DataInf", "Grad-Dot"]


@pytest.mark.pictures
def test_each_stage_is_an_app(finished_run, tmp_path, capsys):
    paths = (f"paths.output_dir={tmp_path}/outputs", f"paths.results_dir={tmp_path}/results")
    run = make_run("size=smoke", *QUICK, *paths)
    with pytest.raises(UserError, match="has no scores: run experiments/attribute.py"):
        app(tmp_path, *QUICK, name="compare")
    for module, words in ((train, "test loss"), (attribute, "scores computed"), (further_train, "0 of 2 seeds found")):
        capsys.readouterr()
        returned = module.main.__wrapped__(run)
        (metrics,) = tmp_path.glob("outputs/diabetes/final/*/metrics.json")
        assert returned == (json.loads(metrics.read_text())["test"]["loss"] if module is train else 0)
        assert words in capsys.readouterr().out
    assert app(tmp_path, *QUICK, name="compare") == 0
    staged = (tmp_path / "results/diabetes/curves.csv").read_bytes()
    assert (finished_run / "results/diabetes/curves.csv").read_bytes() == staged
    pictures = [
        tmp_path / "results/diabetes" / f"{name}.{kind}" for name in ("curves", "seeds") for kind in ("png", "pdf")
    ]
    starts = {path.read_bytes()[:4] for path in pictures}
    assert starts == {b"\x89PNG", b"%PDF"}


def test_comparing_without_seeds_is_an_error_and_with_some_is_said(finished, tmp_path, capsys):
    assert app(tmp_path, *QUICK, "further.seeds=3", "name=three", name="compare") == 0
    assert "with the 2 of 3 seeds that are there" in capsys.readouterr().out
    with pytest.raises(UserError, match="has no seeds: run experiments/further_train.py"):
        app(tmp_path, *QUICK, "further.epochs=3", "name=other", name="compare")


def test_files_hold_what_the_contract_says(tmp_path):
    assert app(tmp_path, *QUICK, "further.evaluate_every=10") == 0
    results = tmp_path / "results/diabetes"
    curves = pd.read_csv(results / "curves.csv")
    assert curves["step"].unique().tolist() == [10, 20, 24] and curves["epoch"].iloc[-1] == 2
    assert len(curves) == 2 * 3 * 3 and (curves["n_test"] == 6).all()
    scores = pd.read_csv(results / "scores.csv")
    assert list(scores)[:5] == ["method", "step", "test", "left_out", "score"] and scores["step"].isna().all()
    assert list(scores)[5:] == ["test_name", "left_out_name"] and scores["left_out_name"].str.match(r"row \d+$").all()
    assert scores["left_out"].unique().tolist() == [353 * k // 8 for k in range(8)]
    told = json.loads((results / "run.json").read_text())
    assert set(told["seconds"]) == {"train", "attribute", "further_train", "compare"} and told["device"] == "cpu"
    assert told["config"]["further"]["evaluate_every"] == 10 and told["diverged"] == []
    (folder,) = tmp_path.glob("outputs/diabetes/further/sgd-every_step-2ep-*")
    with xr.open_dataset(folder / "seed-00000.nc") as losses:
        assert losses["loss_left_out"].dims == ("step", "test", "left_out")
        assert {str(losses[name].dtype) for name in losses.data_vars} == {"float64"}
        assert losses["test"].values.tolist() == list(range(6))
        encoding = losses["loss_left_out"].encoding
    assert encoding.get("complevel", encoding.get("compression_opts")) == 4
    entry = json.loads((folder / "manifest.json").read_text())["files"]["seed-00000.nc"]
    assert entry["process"] and entry["host"] and len(entry["sha256"]) == 64


def test_scores_keep_their_sign_through_the_files(tmp_path):
    """After a little further training Grad-Dot agrees, positively, with the gold standard of the files."""
    assert app(tmp_path, *QUICK, "final.epochs=30", "further.epochs=1") == 0
    curves = pd.read_csv(tmp_path / "results/diabetes/curves.csv").query("adjustment == 'centred'")
    assert (curves["cosine_mean"] > 0.5).all()


def test_a_diverging_run_is_named_kept_out_and_not_computed_again(tmp_path, seeds_computed, capsys, monkeypatch):
    inner = seeds.train_seeds

    def diverging(*args, **kwargs):
        for seed, losses, seconds in inner(*args, **kwargs):
            if seed == 1:
                losses["loss_left_out"][:, :, 3] = np.nan
            yield seed, losses, seconds

    monkeypatch.setattr(seeds, "train_seeds", diverging)
    assert app(tmp_path, *QUICK) == 3
    told = capsys.readouterr().out
    assert "diverged and was left out of the comparison: seed 1, left-out 132" in told
    assert pd.read_csv(tmp_path / "results/diabetes/curves.csv")["cosine_mean"].notna().all()
    assert "seed 1, left-out 132" in (tmp_path / "results/diabetes/table.md").read_text()
    assert app(tmp_path, *QUICK) == 3 and seeds_computed == [0, 1]
    assert read_run(tmp_path / "results/diabetes")["diverged"] == ["seed 1, left-out 132 (row 181)"]


def test_further_training_that_diverges_altogether_still_writes_what_there_is(tmp_path, capsys):
    assert app(tmp_path, *QUICK, "optimizer.lr=1e30", name="further_train") == 3
    assert "seed 0, the full run" in capsys.readouterr().out
    assert app(tmp_path, *QUICK, "optimizer.lr=1e30") == 3
    assert "seed 0, the full run" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "results/diabetes/curves.csv")["cosine_mean"].isna().all()
    assert (tmp_path / "results/diabetes/curves.png").is_file()


def test_further_training_that_changes_nothing_is_told(tmp_path):
    assert app(tmp_path, *QUICK, "optimizer.lr=1e-30") == 0
    assert "over 0 test examples" in (text := (tmp_path / "results/diabetes/table.md").read_text())
    assert "No test example has effects that differ: further training changed nothing, or diverged." in text


def test_a_changed_file_is_refused(finished, tmp_path):
    (seed,) = tmp_path.glob("outputs/diabetes/further/*/seed-00001.nc")
    seed.write_bytes(seed.read_bytes()[:-1])
    with pytest.raises(UserError, match="seed-00001.nc is not the file that was written there .*remove it"):
        app(tmp_path, *QUICK, "name=again")


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    write(tmp_path / "a/file", b"old")
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError):
        write(tmp_path / "a/file", b"new")
    assert (tmp_path / "a/file").read_bytes() == b"old" and len(list((tmp_path / "a").iterdir())) == 1


def test_addresses_are_the_configs(tmp_path):
    def folder(**config):
        return Artifact(tmp_path, "data", "further", "sgd", config).folder.name

    assert folder(a=1, b={"c": 2, "d": 3}) == folder(b={"d": 3, "c": 2}, a=1) != folder(a=2, b={"c": 2, "d": 3})


def test_what_the_methods_tell_is_in_the_results(tmp_path):
    assert app(tmp_path, *QUICK, "method=[cg,lissa_h,ekfac,grad_dot]", "name=told") == 0
    told = json.loads((tmp_path / "results/told/run.json").read_text())["methods"]
    assert list(told) == ["CG", "LiSSA-H", "EK-FAC", "Grad-Dot"]
    assert len(told["CG"]["residuals"]) > 2 and max(told["CG"]["residuals"]) < 1.1e-5
    assert told["CG"]["damping"] == "100 λ0" and told["CG"]["damping_value"] > 0 and told["CG"]["seconds"] >= 0
    assert told["CG"]["processor_seconds"] >= 0
    assert isinstance(told["LiSSA-H"]["indefinite"], bool) and told["LiSSA-H"]["lowest_ritz_value"] < 1
    table = (tmp_path / "results/told/table.md").read_text()
    assert "| CG | " in table and "| 100 λ0 |" in table and "LiSSA-H: scale " in table
    assert "| EK-FAC | " in table and "| 0.1 mean eigenvalue |" in table


def test_another_code_is_another_method(tmp_path, monkeypatch):
    """Scores are found again only where the file that the method's class is written in is the same."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    target = ("method=grad_dot", "method.grad_dot._target_=mine.Mine", "method.grad_dot.label=Mine")
    hashes = set()
    for text in ("", "# changed"):
        (folder / "mine.py").write_text(
            f"from fimo.preconditioners.identity import Identity\nclass Mine(Identity):\n    pass\n{text}"
        )
        hashes.add(addresses.scores(make_run("size=smoke", *target), "grad_dot").hash)
    assert len(hashes) == 2


def test_another_network_of_ones_own_is_another_final_model(tmp_path, monkeypatch):
    folder = tmp_path / "networks"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    hashes = set()
    for kind in ("tanh", "relu"):
        (folder / "nets.py").write_text(f"from fimo.models.mlp import MLP\nclass Net(MLP):\n    kind = '{kind}'\n")
        run = make_run("size=smoke", "method=grad_dot", "model._target_=nets.Net")
        parts = (addresses.final_model(run), addresses.scores(run, "grad_dot"), addresses.further_training(run))
        hashes |= {part.hash for part in parts}
    assert len(hashes) == 6


def test_notes_are_said_again_where_scores_are_found(tmp_path, capsys):
    chosen = ("method=[cg]", "method.cg.max_iterations=1", "name=noted")
    for _ in range(2):
        assert app(tmp_path, *QUICK, *chosen) == 0
        assert "CG (max iterations = 1): 6 of 6 gradients miss the relative residual" in capsys.readouterr().out


def test_a_method_without_a_single_number_has_failed(tmp_path, capsys):
    chosen = ("method=[grad_dot,lissa]", "method.lissa.scale=0.001", "name=lost")
    for _ in range(2):
        assert app(tmp_path, *QUICK, *chosen) == 3
        told = capsys.readouterr().out
        assert "no number for any test example: 6 of 6 gradients diverged with every scale (0.001)." in told
        assert "| LiSSA (scale = 0.001) | – | – |" in told  # the table
