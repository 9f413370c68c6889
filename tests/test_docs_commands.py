"""Every command that the README or a page of docs/ prints is run as it is printed, or listed with the reason why not.

Commands of experiments/ run in this process at smoke size; what needs minutes or a file of the paper's data is slow.
"""

import os
import re
import shlex
import subprocess
import sys
from itertools import zip_longest

import numpy as np
import pytest
from configs import app, config, needs_data
from hydra.core.override_parser.overrides_parser import OverridesParser
from pages import PAGES, ROOT, code, commands
from PIL import Image
from safetensors.torch import save_file

from fimo.app.errors import CONFIG_DIR

MINUTES = "takes minutes or hours at laptop size; `make -n` shows that it is a target"
SWEEP = "several jobs of a command that is run alone; tests/app/test_sweeps.py runs sweeps"
CLUSTER = "needs a SLURM cluster; tests/app/test_launchers.py runs it with a stand-in for sbatch"
INSTALL = "installs packages from the network"
PLACEHOLDER = "has a placeholder for a name or folder of the reader's; tests/app/test_text.py runs it with one"
RUNS_EVERYTHING = "runs the tests or linters that this test is one of"
NOT_RUN = {
    "make test": RUNS_EVERYTHING,
    "make lint": RUNS_EVERYTHING,
    "make test-slow": RUNS_EVERYTHING,
    "make format": "rewrites the checkout",
    "make setup": INSTALL,
    "make minilm": INSTALL,
    "make docs": "tests/test_docs.py builds the site",
    "make peers": "installs packages from the network; tests/benchmarks/ runs its parts",
    "make figure-2": MINUTES,
    "make paper": MINUTES,
    "make paper SIZE=evening": MINUTES,
    'make claims SIZE=smoke DATASETS="diabetes digits"': "tests/paper/ runs claims",
    'make figure-2 DATASETS="energy diabetes"': MINUTES,
    'make figure-2 DATASETS="sst2 cifar10:data=cifar10_subset"': MINUTES,
    'make figure-2 DATASETS="energy energy:optimizer=adam"': MINUTES,
    "python experiments/paper.py figure-2 figure-6 datasets=energy method=paper further.seeds=10": MINUTES,
    "python experiments/run.py logger=wandb": "tests/app/test_loggers.py runs it",
    "python experiments/run.py --help": "tests/app/test_help.py runs that of another command",
    "python experiments/run.py --cfg job": "tests/app/test_errors.py runs it",
    "python experiments/run.py -m experiment=concrete,energy optimizer=sgd,adam": SWEEP,
    "python experiments/run.py -m method=cg method.cg.damping.scale=0.1,1,10,100": SWEEP,
    "python experiments/run.py -m +sweep=damping experiment=energy": SWEEP,
    "python experiments/run.py -m +sweep=optimizers experiment=energy": SWEEP,
    "python experiments/run.py -m +sweep=leave_out experiment=energy": SWEEP,
    "python experiments/train.py -m +sweep=final_lr experiment=energy": SWEEP,
    "python experiments/sweep.py energy-damping results/energy-times.damping=*": SWEEP,
    "python experiments/run.py 'method=[grad_dot,diagonal]'": "needs the reader's method; tests/test_docs.py has it",
    "python experiments/run.py -m method=diagonal method.diagonal.damping.scale=0.1,10": SWEEP,
    "python experiments/compare.py experiment=energy further.seeds=100": "gathers seeds of a cluster",
    "python -m benchmarks further_training": "takes minutes; tests/benchmarks/ runs its parts",
    "python tests/test_versions.py": "writes tests/versions.json; pytest runs its tests",
    ".venv/bin/python -m pytest -n 0 tests/test_attribution.py": RUNS_EVERYTHING,
    ".venv/bin/pip install jupyterlab": INSTALL,
    ".venv/bin/pip install -c constraints.txt -e '.[slurm,ray,search]'": INSTALL,
    "pip install -c constraints.txt -e .": INSTALL,
    "conda env create -f environment.yml": INSTALL,
    "conda activate fimo": "of the reader's shell",
    "wandb leet results/diabetes/wandb": "a terminal user interface",
    "wandb leet inspect --summary results/diabetes/wandb": "needs an offline run; prints it",
    "wandb login": "needs an account",
    "wandb sync --yes": "needs an account",
}
NOT_RUN |= {command: PLACEHOLDER for command in commands() if "FOLDER_OR_HUB_NAME" in command}
NOT_RUN |= {command: CLUSTER for command in commands() if "=slurm" in command}
RUN = [command for command in commands() if command not in NOT_RUN]
SLOW = {"make run"} | {
    f'make {target} DATASETS="diabetes breast_cancer" SIZE=smoke' for target in ("figure-2", "table-methods")
}
# Others of these differ from them in little.
SLOW |= {
    "python experiments/run.py experiment=language",
    "python experiments/run.py experiment=breast_cancer data.flip=0.05 name=flipped",
    "python experiments/run.py experiment=breast_cancer 'data.left_out={random:20,share:0.1}' size=smoke "
    "name=random-groups",
    "python experiments/run.py experiment=digits 'parameters=[head.*,body.0.bias]' size=smoke name=some",
    "python experiments/verify.py experiment=diabetes 'method=[grad_dot,cg,trak,unrolled_gn]'",
}
MAKE = [command for command in commands() if command.startswith("make ")]
HYDRA = [command for command in commands() if re.match(r"(python experiments/|fimo )(?!paper|sweep)", command)]
INLINE = sorted({target for page in PAGES for target in re.findall(r"`make ([a-z][\w-]*)", page.read_text())})
MY_MODEL = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs))
"""


def mark(command):
    """What a command needs: time, or the paper's data."""
    paper = "experiment=energy" in command or "experiment=concrete" in command
    marks = [needs_data, pytest.mark.slow] if paper else [pytest.mark.slow] if command in SLOW else []
    return pytest.param(command, marks=marks)


def parts(command):
    """The stage, and the overrides without flags, of a command of experiments/."""
    words = [word for word in shlex.split(command) if word not in ("-m", "--help", "--cfg", "job")]
    name = words[1] if words[0] == "fimo" else re.fullmatch(r"experiments/(\w+)\.py", words[1])[1]
    return name, words[2:]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The folder of a reader with a table, sentences, images, a network and its weights."""
    folder = tmp_path_factory.mktemp("reader")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 3))
    lines = [",".join([*(f"{number:.4f}" for number in row), "yes" if row.sum() > 0 else "no"]) for row in features]
    (folder / "my.csv").write_text("\n".join(["a,b,c,y", *lines]))
    labelled = [f"{a:.4f},{b:.4f},{int(a > 0)},{int(b > c)},{k % 4}" for k, (a, b, c) in enumerate(features)]
    (folder / "labels.csv").write_text("\n".join(["a,b,high,heavy,visits", *labelled]))
    words = [("good film", "1"), ("bad film", "0"), ("a fine good story", "1"), ("a dull bad story", "0")]
    (folder / "my.tsv").write_text("".join(f"{text} number {k}\t{label}\n" for k in range(20) for text, label in words))
    images = {f"{split}_images": rng.integers(0, 255, (120, 32, 32, 3), dtype=np.uint8) for split in ("train", "test")}
    labels = {f"{split}_labels": np.arange(120) % 10 for split in ("train", "test")}
    np.savez(folder / "my.npz", **images, **labels)
    write_more(folder, lines)
    (folder / "my_model.py").write_text(MY_MODEL)
    (methods,) = [block.code for block in code("python") if block.code.startswith("# my_methods.py")]
    (folder / "my_methods.py").write_text(methods)
    pairs = [f"{test},{left_out},{rng.normal()}" for test in range(89) for left_out in range(353)]  # of diabetes
    (folder / "scores.csv").write_text("\n".join(["test,left_out,score", *pairs]))
    names: dict = {}
    exec(MY_MODEL, names)
    save_file(names["Net"](3, 2).state_dict(), folder / "net.safetensors")
    return folder


def write_more(folder, lines):
    """A second table, pairs of sentences, a folder of images, and rows from a function."""
    (folder / "later.csv").write_text("\n".join(["a,b,c,y", *lines[:20]]))
    pairs = [f"what is {k}?\t{k if k % 2 else 'none'}\t{k % 2}" for k in range(40)]
    (folder / "pairs.tsv").write_text("\n".join(["question\tanswer\tfits", *pairs]))
    for number in range(80):
        (folder / f"my_images/{number % 4}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number, 40 * (number % 4), 0)).save(folder / f"my_images/{number % 4}/{number}.png")
    (data,) = [block.code for block in code("python") if block.code.startswith("# my_data.py")]
    (folder / "my_data.py").write_text(data)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout whose .venv has this process's packages; its commands share what they compute."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("Makefile", "conf", "experiments", "src", "benchmarks", "docs", "pyproject.toml", "constraints.txt"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv/bin").mkdir(parents=True)
    python = folder / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (folder / ".venv/.installed").touch()
    return folder


def make(command, folder):
    """Run make as it is printed."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(shlex.split(command), cwd=folder, capture_output=True, text=True, env=environment)


def test_the_tables_of_commands_name_printed_ones():
    assert not set(NOT_RUN) - set(commands()), "no page prints these"
    assert SLOW <= set(RUN)


@pytest.mark.parametrize("command", [mark(command) for command in RUN])
def test_a_printed_command_runs(command, checkout, reader, monkeypatch):
    if command.startswith("make "):
        done = make(command, checkout)
        assert done.returncode == 0, done.stdout + done.stderr
        target = command.split()[1]
        assert target == "run" or list((checkout / "results/paper").glob(f"{target}*")), done.stdout
        return
    if command.startswith("python docs/"):
        before = (ROOT / "docs/configuration.md").read_text()
        subprocess.run([sys.executable, "docs/configuration.py"], cwd=ROOT, check=True)
        assert (ROOT / "docs/configuration.md").read_text() == before
        return
    monkeypatch.chdir(reader)
    monkeypatch.syspath_prepend(str(reader))
    stage, overrides = parts(command)
    overrides = [override for override in overrides if not override.startswith("size=")]
    assert app(reader, *overrides, name=stage) in (0, 3) or stage == "train"
    assert (reader / ("outputs" if stage in ("train", "attribute", "further_train") else "results")).is_dir()


@pytest.mark.parametrize("target", sorted({*MAKE, *(f"make {target}" for target in INLINE)}))
def test_make_knows_every_target(target, checkout):
    done = make(f"{target} -n", checkout)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", HYDRA)
def test_a_command_of_experiments_composes(command, tmp_path):
    stage, overrides = parts(command)
    assert (ROOT / f"experiments/{stage}.py").is_file()
    (tmp_path / "method").mkdir()
    (diagonal,) = [block.code for block in code("yaml") if "package method.diagonal" in block.code]
    (tmp_path / "method/diagonal.yaml").write_text(diagonal)
    chosen = [override for override in overrides if not override.startswith(("hydra", "+sweep="))]
    for override in set(overrides) - set(chosen):
        group, _, name = override.removeprefix("+").partition("=")
        assert "." in group or (CONFIG_DIR / group / f"{name}.yaml").is_file(), override
    parsed = OverridesParser.create().parse_overrides(chosen)
    values = [[*item.sweep_string_iterator()] if item.is_sweep_override() else [item.value()] for item in parsed]
    for row in zip_longest(*values):
        filled = [choices[0] if value is None else value for value, choices in zip(row, values, strict=True)]
        pairs = zip(parsed, chosen, filled, strict=True)
        jobs = [f"{item.key_or_group}={value}" if item.is_sweep_override() else text for item, text, value in pairs]
        searched = [f"hydra.searchpath=[file://{tmp_path}]"] if "diagonal" in command else []
        config(*jobs, *searched)  # without it the choices are composed already


def test_extras_that_are_installed_are_there():
    text = (ROOT / "pyproject.toml").read_text()
    for command in commands():
        for extra in re.findall(r"\.\[([\w,]+)\]", command):
            assert all(re.search(rf"^{name} = \[", text, re.MULTILINE) for name in extra.split(","))
