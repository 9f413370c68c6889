"""Jobs of a multirun in processes of their own: what they share is computed once; a kill costs the seed in flight."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from hydra.errors import MissingConfigException
from offline_runs import offline_run

from fimo.app.errors import sentence
from fimo.pipeline.artifacts import read_run

APPS = Path(__file__).parents[2] / "experiments"
BASE = ("size=smoke", "experiment=diabetes", "method=[grad_dot,cg]", "threads=1")
# A seed takes about a second.
SEEDS = (*BASE, "final.epochs=50", "further.epochs=10", "further.seeds=4", "name=split")
LAUNCHERS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", ("hydra.launcher.n_jobs=2",)),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", ()),
    "ray": ("ray", ("+hydra.launcher.init.num_cpus=2", "hydra.launcher.remote.max_retries=0")),
}


def launcher(name):
    """The options that choose it; a test is skipped where it isn't installed."""
    package, options = LAUNCHERS[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return f"hydra/launcher={name}", *options


def start(folder, app, *overrides):
    paths = (f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results")
    command = [sys.executable, str(APPS / f"{app}.py"), *overrides, *paths]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def manifests(folder, stage):
    return [json.loads(path.read_text())["files"] for path in folder.glob(f"outputs/diabetes/{stage}/*/manifest.json")]


def seeds(folder):
    """Which process wrote each seed that is there."""
    found = {}
    for path in folder.glob("outputs/diabetes/further/*/seed-*.nc"):
        files = json.loads(path.with_name("manifest.json").read_text())["files"]
        found[int(path.stem[5:])] = files[path.name]["process"]
    return found


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    code, _, err = finish(start(folder, "run", *SEEDS))
    assert code == 0, err
    return (folder / "results/split/curves.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_killed_job_costs_its_own_seed(name, tmp_path, serial):
    command = ("-m", "+sweep=seeds", *launcher(name), *SEEDS)
    process = start(tmp_path, "further_train", *command)
    while not seeds(tmp_path):
        assert process.poll() is None, finish(process)
        time.sleep(0.01)
    first = next(iter(seeds(tmp_path).values()))
    os.kill(first, signal.SIGKILL)
    code, _, err = finish(process)
    assert code == 2 and "error: A job of the sweep was killed or crashed: " in err, err
    before = seeds(tmp_path)
    assert 0 < len(before) < 4
    code, _, err = finish(start(tmp_path, "further_train", *command))
    assert code == 0, err
    after = seeds(tmp_path)
    assert sorted(after) == [0, 1, 2, 3] and {seed: after[seed] for seed in before} == before
    assert after[0] != after[1]  # jobs of their own
    assert len({entry["process"] for files in manifests(tmp_path, "final") for entry in files.values()}) == 1
    for stage in ("attribute", "compare"):
        code, _, err = finish(start(tmp_path, stage, *SEEDS))
        assert code == 0, err
    assert (tmp_path / "results/split/curves.csv").read_bytes() == serial


@pytest.mark.slow
def test_ray_starts_a_killed_job_again(tmp_path):
    options = [option for option in launcher("ray") if "max_retries" not in option]
    process = start(tmp_path, "further_train", "-m", "+sweep=seeds", *options, *SEEDS)
    while not seeds(tmp_path):
        assert process.poll() is None, finish(process)
        time.sleep(0.01)
    os.kill(next(iter(seeds(tmp_path).values())), signal.SIGKILL)
    code, _, err = finish(process)
    assert code == 0, err
    assert sorted(seeds(tmp_path)) == [0, 1, 2, 3]


def groups(folder):
    """The W&B groups of the runs in the results folders."""
    records = [record for path in folder.glob("results/*/wandb/offline-run-*/*.wandb") for record in offline_run(path)]
    return [record.run.run_group for record in records if record.WhichOneof("record_type") == "run"]


@pytest.mark.slow
def test_jobs_side_by_side_share_what_is_the_same_for_both(tmp_path):
    few = ("data.left_out=5", "data.test_count=5", "threads=1", "logger=wandb", "logger.mode=offline")
    swept = ("-m", "+sweep=damping", "times.damping=1,10", "method=[cg,grad_dot]")
    code, _, err = finish(start(tmp_path, "run", *swept, *BASE[:2], *few, *launcher("joblib")))
    assert code == 0, err
    folders = [tmp_path / f"results/diabetes-times.damping={value}" for value in (1, 10)]
    assert [read_run(folder)["swept"] for folder in folders] == [{"times.damping": "1"}, {"times.damping": "10"}]
    for stage, addresses in (("final", 1), ("scores", 3), ("further", 1)):
        assert len(manifests(tmp_path, stage)) == addresses
    (final,) = manifests(tmp_path, "final")
    assert len({entry["process"] for entry in final.values()}) == 1
    assert len(set(seeds(tmp_path))) == 2
    (first, second) = groups(tmp_path)
    assert first == second and first.startswith("damping-20")

    code, out, err = finish(gather("swept", *folders, tmp_path / "results/nothing"))
    assert code == 0 and "results/nothing: there is no such folder" in out, err
    table = pd.read_csv(tmp_path / "results/swept/sweep.csv")
    assert table["method"].tolist() == ["CG", "Grad-Dot", "CG (λ = 1000 λ0)", "Grad-Dot"]
    assert table["times.damping"].tolist() == [1, 1, 10, 10]
    assert {path.suffix for path in (tmp_path / "results/swept").iterdir()} == {".md", ".csv", ".tex", ".png", ".pdf"}


def gather(*arguments):
    command = [sys.executable, str(APPS / "sweep.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_gathering_a_sweep_needs_folders_of_finished_runs(tmp_path):
    code, _, err = finish(gather("mine", tmp_path / "nothing"))
    assert code == 2 and err.startswith("error: none of the folders holds a finished run: name results folders")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/run.json").write_text("{}")
    code, _, err = finish(gather("mine", tmp_path / "nothing"))
    assert code == 2 and "mine holds the results of a run: choose another name" in err


@pytest.mark.parametrize(
    "overrides, code, text",
    [
        pytest.param(("optimizer.lr=1e30,0.001",), 3, "", marks=pytest.mark.slow),
        pytest.param(
            ("further.epochs=1,0",),
            2,
            "error: further.epochs must be a whole number of at least 1, found 0",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_exit_codes_and_errors_come_back_from_other_processes(overrides, code, text, tmp_path):
    few = ("data.left_out=3", "data.test_count=3", "method=grad_dot")
    found, _, err = finish(start(tmp_path, "run", "-m", *launcher("joblib"), *BASE[:2], *few, *overrides))
    assert found == code and text in err and "Traceback" not in err


@pytest.mark.slow
def test_a_killed_search_goes_on_with_its_finished_trials(tmp_path):
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    command = ("-m", "+sweep=final_lr", *BASE[:2], "final.epochs=20", "hydra.sweeper.n_trials=6")
    storage = f"sqlite:///{tmp_path}/outputs/searches.db"

    def trials():
        (summary,) = optuna.get_all_study_summaries(storage)
        found = optuna.load_study(summary.study_name, storage).trials
        return [trial for trial in found if trial.state == optuna.trial.TrialState.COMPLETE]

    process = start(tmp_path, "train", *command)
    while len(list(tmp_path.glob("outputs/diabetes/final/*/model.safetensors"))) < 3:
        assert process.poll() is None, finish(process)
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    before = trials()
    assert 2 <= len(before) < 6
    code, out, err = finish(start(tmp_path, "train", *command))
    assert code == 0 and f"search: {len(before)} of 6 trials found" in out, err
    after = trials()
    assert [trial.params for trial in after[: len(before)]] == [trial.params for trial in before]
    assert len(after) == len({trial.params["final.lr"] for trial in after}) == 6
    code, out, err = finish(start(tmp_path, "train", *command))
    assert code == 0 and "search: 6 of 6 trials found" in out and len(trials()) == 6, err
    # A rate at which training diverges is the worst of all and ends nothing; another app has nothing to minimise.
    far = ("final.lr=tag(log,interval(1e20,1e30))", "hydra.sweeper.n_trials=2", "seed=1")
    code, out, err = finish(start(tmp_path, "train", *command, *far))
    assert code == 0 and out.count("Training the final model diverged") == 2, err
    code, out, err = finish(start(tmp_path, "run", *command))
    assert code == 2 and "error: A search minimises the loss of the final model: use experiments/train.py" in err


@pytest.mark.parametrize(
    "place, missing, text",
    [
        ("hydra/launcher/slurm", "hydra/launcher/submitit_slurm", "hydra/launcher=slurm needs packages .*'.[slurm]'"),
        ("config", "hydra/launcher/submitit_local", "hydra/launcher=submitit_local needs packages .*'.[slurm]'"),
        ("hydra/sweeper/search", "hydra/sweeper/optuna", "hydra/sweeper=search needs packages .*'.[search]'"),
    ],
)
def test_a_launcher_that_is_not_installed(place, missing, text):
    found = sentence(MissingConfigException(f"In '{place}': Could not find '{missing}'\n\nConfig search path:"))
    first, _, last = text.partition(" .*")
    assert found.startswith(first) and found.endswith(last) and "pip install -c constraints.txt -e " in found
