"""What is logged: read back from the files that the loggers wrote."""

import json

import pandas as pd
import pytest
import wandb
from configs import QUICK, app, make_run
from offline_runs import offline_run

from fimo.app.wandb_log import logged_in
from fimo.errors import UserError

LABELS = ("Grad-Dot", "Grad-Cos")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def history(folder):
    wandb.teardown()  # as at a process's end: until then W&B's own process may not have written it all
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    rows, config_keys, metrics = [], set(), {}
    for record in offline_run(path):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items})
        for source in (record.config, record.run.config):
            config_keys |= {item.key or item.nested_key[0] for item in source.update}
        if record.metric.glob_name:
            metrics[record.metric.glob_name] = record.metric.step_metric
    return rows, config_keys, metrics


def test_wandb_offline_without_a_prompt(offline, tmp_path, capsys):
    assert app(tmp_path, *QUICK, "logger=wandb", "further.seeds=2") == 0
    folder = tmp_path / "results/diabetes"
    assert f"Weights & Biases: offline run in {folder}/wandb/offline-run-" in capsys.readouterr().out
    rows, config_keys, metrics = history(folder)
    assert {"data", "model", "optimizer", "method", "further", "seed"} <= config_keys
    assert metrics == {"live/*": "live/epoch", "cosine/*": "epoch"}
    live = [row for row in rows if "live/epoch" in row]
    assert [(row["live/epoch"], row["live/seeds"]) for row in live] == [(1, 1), (2, 1), (1, 2), (2, 2)]
    curves = pd.read_csv(folder / "curves.csv").query("adjustment == 'centred'")
    final = [row for row in rows if any(f"cosine/{label}" in row for label in LABELS)]
    assert [row["epoch"] for row in final] == [1, 2]
    for label in LABELS:
        expected = curves.query("method == @label")["cosine_mean"].tolist()
        assert [row[f"cosine/{label}"] for row in final] == pytest.approx(expected)
        assert [row[f"live/cosine/{label}"] for row in live[2:]] == pytest.approx(expected)
    (media,) = [row for row in rows if "figure" in row or "figure._type" in row]
    assert any(key.startswith("curves") for key in media)
    assert list(folder.glob("wandb/offline-run-*/files/media/images/*.png"))


def test_a_cached_run_logs_its_curves_again(finished, offline, tmp_path):
    assert app(tmp_path, *QUICK, "logger=csv") == 0
    logged = pd.read_csv(tmp_path / "results/diabetes/csv/version_0/metrics.csv")
    curves = pd.read_csv(tmp_path / "results/diabetes/curves.csv").query("adjustment == 'centred'")
    assert logged["epoch"].tolist() == [1, 2] and not any(column.startswith("live/") for column in logged)
    for label in LABELS:
        assert logged[f"cosine/{label}"].tolist() == pytest.approx(
            curves.query("method == @label")["cosine_mean"].tolist()
        )


def test_csv_has_the_live_curves_too(tmp_path):
    assert app(tmp_path, *QUICK, "logger=csv") == 0
    logged = pd.read_csv(tmp_path / "results/diabetes/csv/version_0/metrics.csv")
    assert logged["live/cosine/Grad-Dot"].notna().sum() == 4 and logged["cosine/Grad-Dot"].notna().sum() == 2


def test_logged_in(offline, monkeypatch, tmp_path):
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0123456789\n")
    assert logged_in()
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    assert logged_in()


def test_an_unknown_mode_is_an_error():
    with pytest.raises(UserError, match="logger.mode must be one of online, offline, disabled, found 'never'"):
        make_run("logger=wandb", "logger.mode=never")
