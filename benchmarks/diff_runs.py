"""Are all files of a run whole, and do they hold the numbers of another run of the same question?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fimo.errors import UserError
from fimo.pipeline import artifacts, formats
from fimo.pipeline.artifacts import CONFIG, INDEX, MANIFEST, REPORT, RUN, TABLE

TIMED = (MANIFEST, RUN, TABLE, INDEX, REPORT)  # these hold seconds and processes: two runs never write the same


def check(folder: Path, uninterrupted: Path, ended: bool = False) -> dict[str, Any]:
    """Hold every file of a run against that of the uninterrupted one; those of a run that `ended` are all there."""
    present, expected = _files(folder), _files(uninterrupted)
    lost = [f"{folder / path} is not a file of the uninterrupted run" for path in sorted(present - expected)]
    if ended:
        lost += [f"{folder / path} is missing" for path in sorted(expected - present)]
        lost += [f"{path} was left behind" for path in sorted(folder.rglob("*.tmp"))]
    worst = 0.0
    for path in sorted(present & expected):
        try:
            worst = max(worst, gap := difference(folder / path, uninterrupted / path))
        except (OSError, ValueError, UserError) as reason:
            lost.append(f"{folder / path} can't be read: {reason}")
        else:
            lost += [f"{folder / path} differs by {gap}"] if gap else []
    return {"files_checked": len(present), "worst_difference": worst, "lost": lost + _refused(folder)}


def _files(folder: Path) -> set[Path]:
    """What a run left, by its path below `folder`; no locks, nothing temporary."""
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path for path in paths if not any(part.startswith(".") for part in path.parts)}


def _refused(folder: Path) -> list[str]:
    """Why the next run would refuse files, or not take the results for finished though they say so."""
    refused = []
    for artifact in artifacts.stored(folder / "outputs"):
        for path in sorted(artifact.folder.glob("[!.]*")):
            try:
                if artifact.has(path.name) and path.name not in (CONFIG, MANIFEST):
                    artifact.path(path.name)
            except UserError as reason:
                refused.append(str(reason))
    for results in (path for path in (folder / "results").glob("*") if path.is_dir()):
        try:
            run = artifacts.read_run(results) or {"files": []}
        except UserError as reason:
            refused.append(str(reason))
            continue
        refused += [f"{results / name} is missing" for name in run["files"] if not (results / name).is_file()]
    return refused


def difference(path: Path, twin: Path) -> float:
    """The largest difference between the numbers in two files; infinite where anything else differs."""
    if path.suffix not in (".nc", ".safetensors", ".csv"):
        return 0.0 if path.name in TIMED or path.read_bytes() == twin.read_bytes() else math.inf
    ours, theirs = _read(path), _read(twin)
    if ours.keys() != theirs.keys():
        return math.inf
    return max((_gap(ours[name], theirs[name]) for name in ours), default=0.0)


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".nc":
        with formats.open_dataset(path) as dataset:
            return {str(name): variable.values for name, variable in dataset.variables.items()}
    if path.suffix == ".csv":
        return {str(name): column.to_numpy() for name, column in pd.read_csv(path).items()}
    return {name: tensor.numpy() for name, tensor in formats.read_weights(path).items()}


def _gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return math.inf
    if not np.issubdtype(ours.dtype, np.number):
        return 0.0 if (ours == theirs).all() else math.inf
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    gap = np.where(same, 0.0, np.abs(ours - theirs))
    return math.inf if np.isnan(gap).any() else float(gap.max(initial=0.0))
