"""`results/<name>/`: what people read."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from matplotlib.figure import Figure
from omegaconf import DictConfig

from fimo.app import multirun, settings
from fimo.app.settings import FURTHER, RETRAINING, TANGENTS
from fimo.comparison.claims import claims
from fimo.comparison.influential import GOLD, rankings
from fimo.comparison.own_claims import own_claims
from fimo.comparison.tables import Comparison
from fimo.pipeline import addresses, artifacts, stages
from fimo.pipeline.run import Question, say
from fimo.report.claims import claims_markdown
from fimo.report.figures import curves_figure, figure_files, seeds_figure, to_bytes
from fimo.report.influential import influential_figure, influential_markdown
from fimo.report.markdown import markdown_table

PACKAGES = ("torch", "curvlinops-for-pytorch", "pytorch-lightning", "numpy", "scipy", "xarray", "hydra-core")

# By `further.gold`: what it is called, and the axis along which there is more of it.
GOLDS = {FURTHER: "further training", RETRAINING: "re-training"}
GOLDS |= dict.fromkeys(TANGENTS, "tangents of further training")
AMOUNTS = {FURTHER: "amount of further training (epochs)", RETRAINING: "epochs of re-training from scratch"}
AMOUNTS |= dict.fromkeys(TANGENTS, AMOUNTS[FURTHER])


def run_name(cfg: DictConfig) -> str:
    """The config's name, with the swept overrides of a multirun job appended."""
    parts = [f"{key}={value}" for key, value in multirun.swept().items() if key != "name"]
    return "-".join([str(cfg.name), *(part.replace("/", "_") for part in parts)])


def folder_of(cfg: DictConfig) -> Path:
    """`results/<name>`, with a short hash where a run that compared something else has that name."""
    folder, own = Path(cfg.paths.results_dir) / run_name(cfg), addresses.inputs(cfg)
    previous = artifacts.read_run(folder)
    if previous is None or previous.get("inputs") == own:
        return folder
    return folder.with_name(f"{folder.name}-{artifacts.short_hash(own)}")


@contextmanager
def reserved(cfg: DictConfig) -> Iterator[Path]:
    """The results folder; inside, nobody else decides on its name or writes into it."""
    plain_name = Path(cfg.paths.results_dir) / run_name(cfg)
    with artifacts.results_lock(plain_name):
        folder = folder_of(cfg)
        if folder != plain_name:
            say(f"{plain_name} holds the results of another config or code: these go to {folder}")
        yield folder


def finished(cfg: DictConfig, folder: Path) -> dict[str, Any] | None:
    """What `run.json` says where all files are there and all seeds that are asked for were compared, else None."""
    run = artifacts.read_run(folder)
    if run is None or run["compared"] != list(settings.seeds(cfg)):
        return None
    return run if all((folder / name).is_file() for name in run["files"]) else None


def read(folder: Path) -> Comparison:
    """The tables of a finished run."""
    return Comparison(
        *(pd.read_csv(folder / name) for name in (artifacts.CURVES, artifacts.SEEDS, artifacts.RELIABILITY))
    )


def table(folder: Path) -> str:
    """The table of a finished run, for people."""
    return (folder / artifacts.TABLE).read_text()


def figures(cfg: DictConfig, comparison: Comparison) -> dict[str, Figure]:
    """The figures of a run, by file name without its ending."""
    told = f"{cfg.data.name}: {GOLDS[cfg.further.gold]} with {measured(cfg, comparison)}"
    return {
        "curves": curves_figure(comparison, told, AMOUNTS[cfg.further.gold]),
        "seeds": seeds_figure(comparison, told),
    }


def measured(cfg: DictConfig, comparison: Comparison) -> str:
    """What the gold standard is: `SGD, 3 seeds`."""
    n_seeds = int(comparison.curves["n_seeds"].iloc[0])
    return f"{settings.optimizer_name(cfg)}, {n_seeds} seed{'s' if n_seeds > 1 else ''}"


def compared(asked: Question, seconds: dict[str, float], anew: bool = False) -> tuple[Path, Comparison, list[str]]:
    """Stage 4 into the results folder, unless it is finished: the folder, its tables, and the runs that diverged.

    Args:
        asked: the question that was answered.
        seconds: of the stages before, for `run.json`.
        anew: compare even where the folder is finished.
    """
    cfg = asked.cfg
    with reserved(cfg) as folder:
        run = finished(cfg, folder)
        if run is not None and not anew:
            say(f"comparison: found in {folder}")
            return folder, read(folder), run["diverged"]
        with stages.timed(seconds, "compare"):
            comparison, scores, losses = stages.compare(asked)
            seeds = list(losses.values())
            papers = claims(scores, seeds, np.random.default_rng(0))
            ours = own_claims(scores, seeds, comparison.reliability)
            verdicts = pd.concat([papers, ours], ignore_index=True)
        diverged = stages.diverged_runs(losses)
        more = influential(asked, scores, losses)
        more |= {artifacts.CLAIMS: _csv(verdicts), artifacts.CLAIMS_TABLE: claims_markdown(verdicts).encode()}
        write(cfg, folder, comparison, scores, more, list(losses), diverged, seconds)
        return folder, comparison, diverged


def influential(
    asked: Question, scores: Mapping[str, xr.DataArray], losses: Mapping[int, xr.Dataset]
) -> dict[str, bytes]:
    """The examples that helped and harmed most, for people: text, and a picture where they are images."""
    ranked, shown = rankings(scores, list(losses.values())), asked.data.shown
    files = {artifacts.INFLUENTIAL: influential_markdown(ranked, shown).encode()}
    gold = [name for name in ranked if name.startswith(GOLD)]
    if figure := influential_figure(gold[-1], ranked[gold[-1]], shown):
        files[artifacts.INFLUENTIAL_PICTURE] = to_bytes(figure, "png")
    return files


def write(
    cfg: DictConfig,
    folder: Path,
    comparison: Comparison,
    scores: Mapping[str, xr.DataArray],
    more: Mapping[str, bytes],
    compared: list[int],
    diverged: list[str],
    seconds: Mapping[str, float],
) -> None:
    """Write the results folder: what the seeds `compared` gave, without the runs that `diverged`.

    `more` are further files by name: what `influential` gives, and the claims.
    """
    labels = settings.labels(cfg).items()
    methods = {label: method_facts(addresses.scores_artifact(cfg, name)) for name, label in labels}
    notes = [f"Left out of the means above where they diverged: {'; '.join(diverged)}."] if diverged else []
    files = {
        artifacts.CURVES: _csv(comparison.curves),
        artifacts.SEEDS: _csv(comparison.seeds),
        artifacts.RELIABILITY: _csv(comparison.reliability),
        artifacts.ALL_SCORES: _csv(_score_rows(scores)),
        artifacts.TABLE: markdown_table(comparison, methods, notes).encode(),
    }
    files |= more
    for name, figure in figures(cfg, comparison).items():
        files |= {f"{name}.{kind}": content for kind, content in figure_files(figure).items()}
    run = {
        "config": settings.plain(cfg),
        "swept": multirun.swept(),
        "inputs": addresses.inputs(cfg),
        "compared": compared,
        "versions": {package: version(package) for package in PACKAGES},
        "commit": _commit(),
        "seconds": dict(seconds),
        "methods": methods,
        "device": str(settings.device(cfg)),
        "threads": torch.get_num_threads(),
        "diverged": diverged,
        "finished": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    artifacts.write_results(folder, files, run)


def method_facts(artifact: artifacts.Artifact) -> dict[str, Any]:
    """What a method told of its scores: damping, seconds, residuals, scales, notes."""
    about_the_file = ("sha256", "process", "host", "written")
    return {key: value for key, value in artifact.facts(artifacts.SCORES).items() if key not in about_the_file}


def _score_rows(scores: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """A row for each score; `step` is empty for methods that don't depend on it."""
    tables = []
    for label, score in scores.items():
        table = score.to_dataframe("score").reset_index().assign(method=label)
        tables.append(table.reindex(columns=["method", "step", "test", "left_out", "score"]))
    return pd.concat(tables, ignore_index=True).astype({"step": "Int64"})


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


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
