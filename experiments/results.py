"""`results/<name>/`: what people read."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
import xarray as xr
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from fimo import artifacts
from experiments import settings
from fimo.compare.figures import curves_figure, seeds_figure, to_bytes
from fimo.compare.report import markdown_table
from fimo.compare.tables import Comparison

PACKAGES = ("torch", "pytorch-lightning", "numpy", "scipy", "xarray", "hydra-core")


def run_name(cfg: DictConfig) -> str:
    """The config's name, with the swept overrides of a multirun job appended."""
    job = HydraConfig.get()
    plan = Path(job.sweep.dir) / "multirun.yaml"
    if job.mode != RunMode.MULTIRUN or not plan.is_file():
        return str(cfg.name)
    asked = OmegaConf.load(plan).hydra.overrides.task
    swept = {o.key_or_group for o in OverridesParser.create().parse_overrides(list(asked)) if o.is_sweep_override()}
    swept.discard("name")
    if cfg.name == job.runtime.choices.get("experiment"):
        swept.discard("experiment")  # the name says it
    parts = [override for override in job.overrides.task if override.partition("=")[0] in swept]
    return "-".join([str(cfg.name), *(part.replace("/", "_") for part in parts)])


def folder_of(cfg: DictConfig) -> Path:
    """`results/<name>`, with a short hash where a run of another config has that name."""
    folder = Path(cfg.paths.results_dir) / run_name(cfg)
    previous = artifacts.read_run(folder)
    own = settings.identity(settings.plain(cfg))
    if previous is not None and settings.identity(previous["config"]) != own:
        other = folder.with_name(f"{folder.name}-{artifacts.short_hash(own)}")
        print(f"{folder} holds the results of another config: these go to {other}", flush=True)
        return other
    return folder


def read(folder: Path) -> Comparison:
    """The tables of a finished run."""
    return Comparison(
        *(pd.read_csv(folder / name) for name in (artifacts.CURVES, artifacts.SEEDS, artifacts.RELIABILITY))
    )


def figures(cfg: DictConfig, comparison: Comparison) -> dict[str, Figure]:
    """The figures of a run, by file name without its ending."""
    optimizer = str(cfg.optimizer._target_).rpartition(".")[2]
    n_seeds = int(comparison.curves["n_seeds"].iloc[0])
    title = f"{cfg.data.name}: further training with {optimizer}, {n_seeds} seed{'s' if n_seeds > 1 else ''}"
    return {"curves": curves_figure(comparison, title), "seeds": seeds_figure(comparison, title)}


def write(
    cfg: DictConfig,
    folder: Path,
    comparison: Comparison,
    scores: Mapping[str, xr.DataArray],
    diverged: list[str],
    seconds: Mapping[str, float],
) -> None:
    """Write the results folder."""
    by_label = {
        cfg.method[name].label: settings.scores_artifact(cfg, str(name)).facts(artifacts.SCORES).get("seconds")
        for name in cfg.method
    }
    notes = [f"Left out of the means above where they diverged: {'; '.join(diverged)}."] if diverged else []
    files = {
        artifacts.CURVES: _csv(comparison.curves),
        artifacts.SEEDS: _csv(comparison.seeds),
        artifacts.RELIABILITY: _csv(comparison.reliability),
        artifacts.ALL_SCORES: _csv(_score_rows(scores)),
        artifacts.TABLE: markdown_table(comparison, by_label, notes).encode(),
    }
    for name, figure in figures(cfg, comparison).items():
        files |= {f"{name}.{kind}": to_bytes(figure, kind) for kind in ("png", "pdf")}
    run = {
        "config": settings.plain(cfg),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": _commit(),
        "seconds": dict(seconds),
        "device": str(settings.device(cfg)),
        "threads": torch.get_num_threads(),
        "diverged": diverged,
        "finished": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    artifacts.write_results(folder, files, run)


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
    """The commit of the code, with `+` where files were changed since; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    if commit.returncode != 0:
        return None
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout
    return commit.stdout.strip() + ("+" if changed else "")
