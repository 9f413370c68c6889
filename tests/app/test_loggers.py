"""What is logged: read back from the files that the loggers wrote."""

import json
import os
import socket

import pandas as pd
import pytest
import wandb
from configs import QUICK, app, make_run
from offline_runs import offline_run
from wandb.sdk.mailbox import MailboxClosedError

from fimo.app import wandb_log
from fimo.app.wandb_log import WandbLog, chosen_mode, logged_in
from fimo.errors import UserError

LABELS = {"Grad-Dot": "grad_dot", "Grad-Cos": "grad_cos"}


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
    final = [row for row in rows if any(f"cosine/{name}" in row for name in LABELS.values())]
    assert [row["epoch"] for row in final] == [1, 2]
    for label, name in LABELS.items():
        expected = curves.query(f"method == '{label}'")["cosine_mean"].tolist()
        assert [row[f"cosine/{name}"] for row in final] == pytest.approx(expected)
        assert [row[f"live/cosine/{name}"] for row in live[2:]] == pytest.approx(expected)
    (media,) = [row for row in rows if "figure" in row or "figure._type" in row]
    assert any(key.startswith("curves") for key in media)
    assert list(folder.glob("wandb/offline-run-*/files/media/images/*.png"))
    (page,) = folder.glob("wandb/offline-run-*/files/media/html/report*.html")
    assert page.read_bytes() == (folder / "report.html").read_bytes()


def test_a_cached_run_logs_its_curves_again(finished, offline, tmp_path):
    assert app(tmp_path, *QUICK, "logger=csv") == 0
    logged = pd.read_csv(tmp_path / "results/diabetes/csv/version_0/metrics.csv")
    curves = pd.read_csv(tmp_path / "results/diabetes/curves.csv").query("adjustment == 'centred'")
    assert logged["epoch"].tolist() == [1, 2] and not any(column.startswith("live/") for column in logged)
    for label, name in LABELS.items():
        assert logged[f"cosine/{name}"].tolist() == pytest.approx(
            curves.query(f"method == '{label}'")["cosine_mean"].tolist()
        )


def test_csv_has_the_live_curves_too(tmp_path):
    assert app(tmp_path, *QUICK, "logger=csv") == 0
    logged = pd.read_csv(tmp_path / "results/diabetes/csv/version_0/metrics.csv")
    assert logged["live/cosine/grad_dot"].notna().sum() == 4 and logged["cosine/grad_dot"].notna().sum() == 2


def runs_of(folder):
    """The offline W&B runs of a results folder, by what their files are called, and the folder's memory."""
    return sorted(path.stem for path in folder.glob("wandb/offline-run-*/*.wandb")), json.loads(
        (folder / "wandb.json").read_text()
    )


def test_a_run_that_is_called_again_is_the_same_and_logs_nothing_twice(finished, offline, tmp_path):
    folder = tmp_path / "results/diabetes"
    assert app(tmp_path, *QUICK, "logger=wandb") == 0
    (first,), memory = runs_of(folder)
    assert first == f"run-{memory['id']}"
    wandb.teardown()
    assert app(tmp_path, *QUICK, "logger=wandb") == 0
    wandb.teardown()
    again, same = runs_of(folder)
    assert set(again) == {first} and same == memory
    newest = max(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)
    assert not [record for record in offline_run(newest) if record.WhichOneof("record_type") == "history"]


def test_labels_stand_in_the_config(finished, offline, tmp_path):
    assert app(tmp_path, *QUICK, "logger=wandb") == 0
    wandb.teardown()
    (path,) = tmp_path.glob("results/diabetes/wandb/offline-run-*/*.wandb")
    updates = [update for record in offline_run(path) for update in record.config.update]
    assert [json.loads(update.value_json) for update in updates if update.key == "labels"] == [
        {name: label for label, name in LABELS.items()}
    ]


def test_which_w_and_b_run_a_folder_is(offline, tmp_path):
    """More seeds go on with it, another config doesn't, and a damaged file costs a new one."""

    def opened(**settings):
        with WandbLog(tmp_path, "mine", settings) as log:
            return log.run.id

    first = opened(further={"seeds": 1}, seed=0)
    assert opened(further={"seeds": 2}, seed=0, device="cpu") == first
    assert opened(further={"seeds": 2}, seed=1) != first
    (tmp_path / "wandb.json").write_text("{")
    assert opened(further={"seeds": 2}, seed=0) != first


def test_a_log_that_cannot_begin_is_none(offline, tmp_path, caplog, monkeypatch):
    begin = wandb.init

    def refuse(mode, **about):
        if mode != "disabled":
            raise MailboxClosedError("gone")
        return begin(mode=mode, **about)

    monkeypatch.setattr(wandb, "init", refuse)
    with WandbLog(tmp_path, "mine", {}) as log:
        log.lightning.log_metrics({"x": 1.0})
    assert caplog.text.count("Weights & Biases can't begin (gone): nothing is logged there") == 1


def test_a_project_that_w_and_b_does_not_take_is_a_sentence(offline, tmp_path):
    with pytest.raises(UserError, match="logger.project and logger.entity must be .*Invalid project name 'a/b'"):
        WandbLog(tmp_path, "mine", {}, project="a/b")


def test_curves_that_failed_are_logged_the_next_time(finished, offline, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise MailboxClosedError("gone")

    monkeypatch.setattr(wandb, "Table", broken)
    assert app(tmp_path, *QUICK, "logger=wandb") == 0
    assert "curves" not in runs_of(tmp_path / "results/diabetes")[1]


@pytest.fixture
def silent_server():
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("reached", ["nobody", "silent"])
def test_a_server_out_of_reach_costs_seconds_and_not_the_run(
    reached, offline, monkeypatch, silent_server, tmp_path, caplog
):
    monkeypatch.setenv("WANDB_BASE_URL", silent_server if reached == "silent" else "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_log, "REACH_SECONDS", (0.5, 0.5))
    with WandbLog(tmp_path, "mine", {"a": 1}) as log:
        log.lightning.log_metrics({"x": 1.0})
    assert caplog.text.count("Weights & Biases is unavailable") == 1 and "the log is offline" in caplog.text
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


def test_a_failure_in_the_middle_ends_the_log_and_not_the_run(offline, tmp_path, caplog):
    with WandbLog(tmp_path, "mine", {}) as log:
        log.run.log = lambda *args, **kwargs: 1 / 0
        with pytest.raises(ZeroDivisionError):  # a bug stays one
            log.lightning.log_metrics({"x": 1.0})

        def broken(*args, **kwargs):
            raise BrokenPipeError("gone")

        log.run.log = broken
        log.lightning.log_metrics({"x": 1.0})
        log.lightning.log_metrics({"x": 2.0})
    assert caplog.text.count("Weights & Biases failed (gone): nothing is logged there from here on") == 1


@pytest.mark.parametrize(
    "told, mode, expected",
    [("", None, "offline"), ("offline", None, "offline"), ("ONLINE", None, "online"), ("never", "offline", "offline")],
)
def test_the_mode(told, mode, expected, offline, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", told)
    assert chosen_mode(mode) == expected


@pytest.mark.parametrize("spelling, mode", [("", None), ("Offline", None), (" offline", None), ("never", "offline")])
def test_w_and_b_itself_begins_with_the_chosen_mode(spelling, mode, offline, monkeypatch, tmp_path):
    """W&B reads the variable too, and only when nothing of it runs yet."""
    monkeypatch.setenv("WANDB_MODE", spelling)
    wandb.teardown()
    with WandbLog(tmp_path, "mine", {}, mode=mode) as log:
        assert log.run.settings.mode == "offline"
        log.lightning.log_metrics({"x": 1.0})
    assert len(runs_of(tmp_path)[0]) == 1 and os.environ["WANDB_MODE"] == spelling


def test_an_unknown_mode_of_the_environment_is_a_sentence(offline, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "never")
    with pytest.raises(
        UserError, match="WANDB_MODE must be one of online, offline, disabled or not set, found 'never'"
    ):
        chosen_mode(None)


def test_online_without_a_key_is_offline_and_asks_nothing(offline, tmp_path, caplog):
    with WandbLog(tmp_path, "mine", {}, mode="online"):
        pass
    assert "is unavailable (no key: wandb login): the log is offline" in caplog.text


def test_logged_in(offline, monkeypatch, tmp_path):
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0123456789\n")
    assert logged_in()
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    assert logged_in()


def test_an_unknown_mode_is_an_error():
    with pytest.raises(UserError, match="logger.mode must be one of null, online, offline, disabled, found 'never'"):
        make_run("logger=wandb", "logger.mode=never")
