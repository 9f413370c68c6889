"""Stage 4: the comparison, and the files of a results folder."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from fimo.comparison.claims import claims
from fimo.comparison.influential import GOLD, rankings
from fimo.comparison.own_claims import own_claims
from fimo.comparison.tables import Comparison, compare
from fimo.data.base import Data
from fimo.models.parameter_choice import ALL
from fimo.pipeline import addresses, artifacts
from fimo.pipeline.artifacts import Artifact
from fimo.pipeline.failures import failure_notes
from fimo.pipeline.figures import figures
from fimo.pipeline.groups_file import groups_json
from fimo.pipeline.results_page import report_page
from fimo.pipeline.results_tables import csv, effect_rows, named, score_rows
from fimo.pipeline.run import Run
from fimo.pipeline.stages import Attribution, Scores, check_comparable, diverged_runs, timed
from fimo.report.claims import claims_markdown
from fimo.report.figures import figure_files, to_bytes
from fimo.report.index import RunEntry, index_markdown
from fimo.report.influential import DescribeRow, Examples, influential_figure, influential_markdown
from fimo.report.markdown import markdown_table

# Of what is left out: centring is then a large part of the effects.
FEW = 15
PACKAGES = ("torch", "curvlinops-for-pytorch", "pytorch-lightning", "numpy", "scipy", "xarray", "hydra-core")


def compare_and_write(
    run: Run, folder: Path, done: Attribution, losses: Mapping[int, xr.Dataset], seconds: dict[str, float]
) -> list[str]:
    """Compare scores with the gold standard, and write the results folder.

    Args:
        run: the run.
        folder: its results folder.
        done: scores and failures of its methods.
        losses: of each finished seed.
        seconds: of the stages before, for `run.json`.

    Returns:
        The runs that diverged, which are left out.

    Raises:
        UserError: where there is no seed, or files belong to other examples than are asked for.
    """
    scores, failed = done.scores, done.failed
    check_comparable(run, scores, losses)
    seeds = list(losses.values())
    with timed(seconds, "compare"):
        comparison = compare(scores, seeds)
        papers = claims(scores, seeds, np.random.default_rng(0))
        verdicts = pd.concat([papers, own_claims(scores, seeds, comparison.reliability)], ignore_index=True)
    examples = _examples(run.dataset)
    diverged = diverged_runs(losses, partial(examples.label, "train"))
    methods = {
        method.label: {"failed": failed[method.label]}
        if method.label in failed
        else scores_record(addresses.scores(run, name))
        for name, method in run.methods.items()
    }
    record = _record(run, methods, list(losses), diverged, seconds) | {"failed": failed}
    notes = _notes(run, failed, diverged)
    page, too_large = report_page(run, comparison, verdicts, scores, seeds, record, notes)
    files = {
        artifacts.CURVES: csv(comparison.curves),
        artifacts.SEEDS: csv(comparison.seeds),
        artifacts.RELIABILITY: csv(comparison.reliability),
        artifacts.ALL_SCORES: csv(named(score_rows(scores), run.dataset)),
        artifacts.TABLE: markdown_table(comparison, methods, [*notes, *too_large]).encode(),
        artifacts.CLAIMS: csv(verdicts),
        artifacts.CLAIMS_TABLE: claims_markdown(verdicts).encode(),
        artifacts.EFFECTS: csv(named(effect_rows(seeds), run.dataset)),
        **_influential(run, scores, seeds, examples),
        **_figures(run, comparison),
        **_groups(run.dataset),
        **page,
    }
    artifacts.write_results(folder, files, record)
    write_index(run.results_dir)
    return diverged


def _notes(run: Run, failed: Mapping[str, str], diverged: list[str]) -> list[str]:
    """What stands under the table: a θ that is not all, methods without scores, runs that diverged, sizes of groups."""
    theta = theta_record(run)
    notes = [f"θ: {theta['count']:,} of {theta['of']:,} parameters ({theta['choice']})."] if theta else []
    notes += failure_notes(failed)
    notes += [f"Left out of the means above where they diverged: {'; '.join(diverged)}."] if diverged else []
    groups = run.dataset.left_out
    if len(groups) < FEW:
        notes.append(
            f"With only {len(groups)} left out, centring takes much of the effects away and nothing of the scores: the "
            "Pearson correlation, which centres both, says more than the cosine."
        )
    if groups.names is not None:
        sizes = groups.sizes
        rows = f"{sizes.min()} to {sizes.max()}" if sizes.min() < sizes.max() else f"{sizes.max()}"
        notes.append(f"Left out: {len(groups)} groups of {rows} training rows each ({artifacts.GROUPS}).")
    return notes


def write_index(results_dir: Path) -> None:
    """Write `index.md`, the list of all finished runs in a folder of results."""
    with artifacts.lock_at(results_dir / ".index.lock"):
        artifacts.write(results_dir / artifacts.INDEX, index_markdown(_finished_runs(results_dir)).encode())


def _finished_runs(results_dir: Path) -> list[RunEntry]:
    folders = sorted(path.parent for path in results_dir.glob(f"*/{artifacts.RUN}"))
    return [_entry(folder, record) for folder in folders if (record := artifacts.read_run(folder))]


def _entry(folder: Path, record: Mapping[str, Any]) -> RunEntry:
    curves = folder / artifacts.CURVES
    return RunEntry(folder.name, record, pd.read_csv(curves) if curves.is_file() else None)


def _figures(run: Run, comparison: Comparison) -> dict[str, bytes]:
    return {
        f"{name}.{kind}": content
        for name, figure in figures(run, comparison).items()
        for kind, content in figure_files(figure).items()
    }


def _influential(run: Run, scores: Scores, seeds: list[xr.Dataset], examples: Examples) -> dict[str, bytes]:
    """The examples that helped and harmed most, for people: text, and a picture where they are images."""
    ranked = rankings(scores, seeds)
    watched = None if run.measurement is None else repr(run.measurement)
    files = {artifacts.INFLUENTIAL: influential_markdown(ranked, examples, watched=watched).encode()}
    gold = [name for name in ranked if name.startswith(GOLD)]
    if figure := influential_figure(gold[-1], ranked[gold[-1]], examples):
        files[artifacts.INFLUENTIAL_PICTURE] = to_bytes(figure, "png")
    return files


def _groups(data: Data) -> dict[str, bytes]:
    content = groups_json(data.left_out, data.train.index, data.names.train)
    return {} if content is None else {artifacts.GROUPS: content}


def _examples(data: Data) -> Examples:
    return Examples(_describe_row(data), data.names.of, data.left_out.names)


def _describe_row(data: Data) -> DescribeRow:
    """Examples as people read them; a group of training rows by its size and its first row."""
    groups = data.left_out.described(data.train.index)

    def describe_group(split: str, number: int) -> str | np.ndarray:
        if split == "test":
            return data.display(split, number)
        assert groups is not None
        rows = groups[number]["rows"]
        first = data.display("train", rows[0])
        return f"{len(rows)} training rows, the first of them {first}" if isinstance(first, str) else first

    return data.display if groups is None else describe_group


def _record(
    run: Run,
    methods: Mapping[str, Mapping[str, Any]],
    compared: list[int],
    diverged: list[str],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """What `run.json` says."""
    return {
        "name": run.name,
        "config": dict(run.settings),
        "overrides": list(run.overrides),
        "swept": dict(run.swept),
        "inputs": addresses.inputs(run),
        "compared": compared,
        "versions": {package: version(package) for package in PACKAGES},
        "commit": _commit(),
        "seconds": seconds,
        "methods": methods,
        "device": str(run.execution.device),
        "threads": torch.get_num_threads(),
        "diverged": diverged,
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


def scores_record(artifact: Artifact) -> dict[str, Any]:
    """What the manifest says of a method's scores: damping, seconds, residuals, scales, notes."""
    about_the_file = ("sha256", "process", "host", "written")
    return {key: value for key, value in artifact.entry(artifacts.SCORES).items() if key not in about_the_file}


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
