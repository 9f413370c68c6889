"""What the README says is so."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from configs import app, config
from problems import problem

from fimo.app.errors import CONFIG_DIR
from fimo.attribution import attribute
from fimo.preconditioners.damping import Damping
from fimo.reference import gradients as reference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
YAML = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


(CODE,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("task, network", [("regression", "mlp"), ("classification", "convolutional")])
def test_its_example_of_a_method_equals_the_explicit_matrix(task, network):
    names: dict = {}
    exec(CODE, names)
    question = problem(task, network)
    everything = [reference.gradient(question, *question.train[torch.tensor(i)]) for i in range(len(question.train))]
    matrix = torch.diag(1 / (torch.stack(everything).square().mean(0) + 0.01))
    scores = attribute(question, names["Diagonal"]("Diagonal", Damping(0.01)))
    np.testing.assert_allclose(scores, reference.scores(question, matrix), rtol=1e-9, atol=1e-14)


def test_its_example_of_a_method_passes_the_linter(tmp_path):
    (tmp_path / "diagonal.py").write_text(CODE)
    ruff = [sys.executable, "-m", "ruff"]
    for arguments in (["check"], ["format", "--check"]):
        command = [*ruff, *arguments, "--config", str(ROOT / "pyproject.toml"), str(tmp_path / "diagonal.py")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_its_config_of_an_experiment_is_one(tmp_path):
    (text,) = [text for text in YAML if "package _global_" in text]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(text)
    for optimizer, rate in (("sgd", 1e-2), ("adam", 1e-4)):
        cfg = config("experiment=mine", f"optimizer={optimizer}", f"hydra.searchpath=[file://{tmp_path}]")
        assert (cfg.name, cfg.data.source.file, cfg.optimizer.lr, cfg.further.epochs) == ("mine", "my.csv", rate, 100)


def test_its_config_of_a_method_is_read_by_hydra():
    (text,) = [text for text in YAML if "package method" in text]
    assert text.startswith("# @package method.diagonal\n")  # Hydra looks at the first line only
    assert "label: Diagonal" in text and "damping:" in text


def test_its_commands_compose():
    commands = re.findall(r"python experiments/(\w+)\.py (?!-m|--)([^`#\n]+)", README)
    assert len(commands) >= 4
    for stage, overrides in commands:
        assert (ROOT / "experiments" / f"{stage}.py").is_file()
        # The method that a reader adds; apps with arguments of their own.
        if "diagonal" not in overrides and stage not in ("figures", "paper", "benchmark"):
            config(*shlex.split(overrides))


def test_its_files_are_there():
    for path in re.findall(r"\]\(((?:src|docs)/[^)]+)\)", README):
        assert (ROOT / path).is_file(), path


def test_its_tables_name_every_experiment_and_method():
    for path in [*(CONFIG_DIR / "experiment").glob("*.yaml"), *(CONFIG_DIR / "optimizer").glob("*.yaml")]:
        assert f"`{path.stem}`" in README, f"README.md needs a word on {path.stem}"
    for path in (CONFIG_DIR / "method").glob("*.yaml"):
        assert f"`method={path.stem}`" in README, f"README.md's table of methods needs a row for method={path.stem}"


def test_a_network_of_ones_own_is_chosen_by_its_target(tmp_path):
    assert app(tmp_path, "model=own", "model._target_=problems.Own", "data.left_out=4", "data.test_count=4") == 0
    assert (tmp_path / "results/diabetes/table.md").is_file()
