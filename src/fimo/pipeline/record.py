"""What every results folder has: `run.json`, which says how it came about, and its row in `index.md`."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fimo.models.parameter_choice import ALL
from fimo.pipeline import artifacts, files
from fimo.pipeline.artifacts import Artifact
from fimo.pipeline.run import Run
from fimo.report.index import RunEntry, index_markdown

PACKAGES = ("torch", "curvlinops-for-pytorch", "pytorch-lightning", "numpy", "scipy", "xarray", "hydra-core")


def run_record(
    run: Run,
    inputs: Mapping[str, Any],
    methods: Mapping[str, Mapping[str, Any]],
    seconds: Mapping[str, float],
    **more: Any,
) -> dict[str, Any]:
    """What `run.json` says.

    Args:
        run: the run.
        inputs: what determines the results.
        methods: what there is to say of each method, by label.
        seconds: of each stage.
        more: what else there is to say of these results.
    """
    return {
        "name": run.name,
        "config": dict(run.settings),
        "overrides": list(run.overrides),
        "swept": dict(run.swept),
        "inputs": inputs,
        "versions": {package: version(package) for package in PACKAGES},
        "commit": _commit(),
        "seconds": seconds,
        "methods": methods,
        "device": str(run.execution.device),
        "threads": torch.get_num_threads(),
        **more,
        **({"parameters": theta} if (theta := theta_record(run)) else {}),
        "finished": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def theta_record(run: Run) -> dict[str, Any]:
    """What a run takes as θ: choice, names, how many parameters of how many; nothing where it is all of them."""
    if run.parameters == ALL:
        return {}
    problem = run.problem
    sizes = {name: parameter.numel() for name, parameter in problem.network.named_parameters()}
    choice = run.parameters if isinstance(run.parameters, str) else ", ".join(run.parameters)
    return {"choice": choice, "count": problem.size, "of": sum(sizes.values()), "names": list(problem.theta)}


def model_notes(run: Run) -> list[str]:
    """What stands under a table of the model: a θ that is not all parameters, wrong labels that it may not know."""
    theta = theta_record(run)
    notes = [f"θ: {theta['count']:,} of {theta['of']:,} parameters ({theta['choice']})."] if theta else []
    if run.dataset.flipped is not None and not run.final.trains:
        notes.append(
            "The final model was taken as it is: unless it was trained elsewhere on the labels that were made wrong, "
            "it has not learnt them, and how well they are found says nothing."
        )
    return notes


def method_record(artifact: Artifact, name: str = artifacts.SCORES) -> dict[str, Any]:
    """What the manifest says of what a method gave: damping, seconds, residuals, scales, notes.

    Args:
        artifact: the method's.
        name: of the file.
    """
    about_the_file = ("sha256", "process", "host", "written")
    return {key: value for key, value in artifact.entry(name).items() if key not in about_the_file}


def method_records(
    stored: Mapping[str, Artifact], failed: Mapping[str, str], name: str = artifacts.SCORES
) -> dict[str, dict[str, Any]]:
    """What there is to say of each method, by label: why it failed, or see `method_record`.

    Args:
        stored: the artifact of each method of a run, by label, in the order in which they were chosen.
        failed: why a method gave nothing, by label; of a ranking from elsewhere they are no methods of the run.
        name: of the file.
    """
    reasons = {label: {"failed": reason} for label, reason in failed.items()}
    return {label: reasons.get(label) or method_record(artifact, name) for label, artifact in stored.items()} | reasons


def method_notes(label: str, record: Mapping[str, Any]) -> list[str]:
    """What stands under a table of a method: its notes, as sentences.

    Args:
        label: of the method.
        record: see `method_record`.
    """
    return [f"{label}: {note.removesuffix('.')}." for note in record.get("notes", [])]


def _commit() -> str | None:
    """The commit of the code, with `+` where files were changed since; None outside a checkout, or without git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:  # a machine without git
        return None
    if commit.returncode != 0:
        return None
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout
    return commit.stdout.strip() + ("+" if changed else "")


def write_index(results_dir: Path) -> None:
    """Write `index.md`, the list of all finished runs in a folder of results."""
    with files.lock_at(results_dir / ".index.lock"):
        files.write(results_dir / artifacts.INDEX, index_markdown(_finished_runs(results_dir)).encode())


def _finished_runs(results_dir: Path) -> list[RunEntry]:
    folders = sorted(path.parent for path in results_dir.glob(f"*/{artifacts.RUN}"))
    return [_entry(folder, record) for folder in folders if (record := artifacts.read_run(folder))]


def _entry(folder: Path, record: Mapping[str, Any]) -> RunEntry:
    curves = folder / artifacts.CURVES
    return RunEntry(folder.name, record, pd.read_csv(curves) if curves.is_file() else None)
