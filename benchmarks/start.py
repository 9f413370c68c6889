"""What a command takes that finds all its results there, and where: in processor seconds of processes of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.timing import Line, machine

EXPERIMENT = "diabetes"
ROUNDS = 5
# What the command imports, in its order.
IMPORTS = {
    "Hydra": ("hydra", "omegaconf"),
    "torch": ("torch",),
    "pandas, pyarrow, xarray": ("pandas", "pyarrow", "xarray"),
    "scipy, linear_operator": ("scipy.sparse.linalg", "linear_operator"),
    "scikit-learn, for the data sets that come with it": ("sklearn.datasets",),
    "fimo": ("fimo.app.main", "fimo.app.config", "fimo.pipeline.run_all"),
}
STAGES = ("composing", "reading rows", "finding results")
# The command twice in one process: what the first pass takes beyond the second is done once in a process.
PARTS = """
import importlib, json, sys, time
from pathlib import Path
from fimo.compat import lasting_imports
marks = [time.process_time()]
with lasting_imports():
    for modules in json.loads(sys.argv[2]).values():
        for module in modules:
            importlib.import_module(module)
        marks.append(time.process_time())
from fimo.app.config import compose_config, run_of
from fimo.pipeline.run_all import run_all
for _ in range(2):
    cfg = compose_config(sys.argv[3:])
    marks.append(time.process_time())
    run = run_of(cfg)
    run.problem
    marks.append(time.process_time())
    run_all(run)
    marks.append(time.process_time())
Path(sys.argv[1]).write_text(json.dumps(marks))
"""


def start() -> Iterator[Line]:
    """A run whose results are there: all of it, and its parts."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"experiment={EXPERIMENT}", "size=smoke", f"paths.output_dir={folder}/outputs"]
        words += [f"paths.results_dir={folder}/results", f"paths.data_dir={os.environ.get('FIMO_DATA_DIR', 'data')}"]
        command = [sys.executable, "-m", "fimo", "run", *words]
        _processor_seconds(command)  # now the results are there
        rounds = [
            {"all of it": _processor_seconds(command), **_parts(Path(folder) / "marks.json", words)}
            for _ in range(ROUNDS)
        ]
    for name in rounds[0]:
        seconds = float(f"{statistics.median(spent[name] for spent in rounds):.2g}")
        about = machine(torch.device("cpu"))
        yield {"what": "a run that finds its results", "size": name, "seconds": seconds, **about}


def _processor_seconds(command: list[str]) -> float:
    """User's and system's time of a process, all of its threads."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _parts(marks_file: Path, words: list[str]) -> dict[str, float]:
    command = [sys.executable, "-c", PARTS, str(marks_file), json.dumps(IMPORTS), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    marks = json.loads(marks_file.read_text())
    spent = [after - before for before, after in pairwise(marks)]
    imports, first, second = spent[: len(IMPORTS)], spent[len(IMPORTS) : -len(STAGES)], spent[-len(STAGES) :]
    return {
        **{f"import of {name}": taken for name, taken in zip(IMPORTS, imports, strict=True)},
        "done once in a process": sum(first) - sum(second),
        **dict(zip(STAGES, second, strict=True)),
    }
