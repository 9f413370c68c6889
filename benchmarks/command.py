"""Speed and memory: `python -m benchmarks`, a JSON object a line.

`python -m benchmarks further_training comparison` measures these parts alone; with `report=FOLDER` the
tables are written there, as `make bench` does it in results/. The parts: further_training, last_layer,
methods, comparison, precision, start, scaling; and paper_gpu, all of the paper's further training of energy and
folktables, for a GPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import comparison, last_layer, methods, precision, report, scaling, start, training
from benchmarks.timing import Line
from fimo.app.config import compose_config, run_of
from fimo.errors import UserError
from fimo.messages import log_to_stdout, silence_libraries
from fimo.pipeline import artifacts
from fimo.pipeline.run import Run

PARTS = {
    "further_training": training.further_training,
    "last_layer": last_layer.last_layer,
    "methods": methods.methods,
    "comparison": lambda make_run: comparison.comparison(),
    "precision": precision.precision,
    "start": lambda make_run: start.start(),
    "scaling": scaling.scaling,
}
GPU = "paper_gpu"  # has to be named
REPORT = "report="


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts that are named, or all."""
    log_to_stdout()
    silence_libraries()
    words = sys.argv[1:] if arguments is None else arguments
    parts = [argument for argument in words if not argument.startswith(REPORT)]
    if unknown := [part for part in parts if part not in (*PARTS, GPU)]:
        raise UserError(f"{unknown[0]} is no part of the benchmark: expected some of {', '.join((*PARTS, GPU))}.")
    lines = []
    for line in measurements(parts or list(PARTS)):
        print(json.dumps(line, ensure_ascii=False), flush=True)
        lines.append(line)
    for argument in words:
        if argument.startswith(REPORT):
            write(Path(argument.removeprefix(REPORT)), lines)


def measurements(parts: list[str]) -> Iterator[Line]:
    """The lines of some parts; what is trained for them lies in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        paths = (f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results")

        def make_run(*overrides: str) -> Run:
            return run_of(compose_config([*overrides, *paths]))

        for part in parts:
            yield from (training.paper_sizes if part == GPU else PARTS[part])(make_run)


def write(folder: Path, lines: list[Line]) -> None:
    """The lines as they are, and tables."""
    files = {
        "jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode(),
        "md": report.markdown(lines).encode(),
    }
    for ending, content in files.items():
        artifacts.write(folder / f"benchmark.{ending}", content)
    print(folder / "benchmark.md")
