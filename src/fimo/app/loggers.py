"""Where curves are logged: nowhere, in CSV files, or on Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import requests
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from fimo.comparison.tables import Comparison


class NoLog:
    """Logs nothing."""

    lightning: Logger | None = None

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], group: str | None = None) -> None:
        pass

    def results(self, comparison: Comparison, figure: Figure) -> None:
        """Log `cosine/<label>` (centred) once for each evaluated step against `epoch`."""
        if self.lightning is None:
            return
        centred = comparison.curves.query("adjustment == 'centred'")
        for step, rows in centred.groupby("step"):
            metrics = {f"cosine/{row.method}": float(row.cosine_mean) for row in rows.itertuples()}
            self.lightning.log_metrics({"epoch": float(rows["epoch"].iloc[0]), **metrics}, step=int(step))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self.close(failed=kind is not None)

    def close(self, failed: bool) -> None:
        """Write what is left to write; `failed` where an error ended the run."""


class CSVLog(NoLog):
    """`results/<name>/csv/version_<k>/metrics.csv`: a new version for each run."""

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], group: str | None = None) -> None:
        self.lightning = self.csv = CSVLogger(folder, name="csv")
        self.csv.log_hyperparams(settings)

    def close(self, failed: bool) -> None:
        """Write the file."""
        self.csv.save()


class WandbLog(NoLog):
    """One W&B run for one `run.py`: live curves, config, final curves, table and figure. It never asks anything.

    Args:
        folder: results folder; offline runs lie in it.
        name: of the run.
        settings: the whole config, logged with it.
        group: what the runs of a sweep share.
        project: of the run.
        entity: user or team, or None.
        mode: `online`, `offline` or `disabled`; None is online where the user is logged in, and offline else.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        settings: dict[str, Any],
        group: str | None = None,
        project: str = "fimo",
        entity: str | None = None,
        mode: str | None = None,
    ) -> None:
        chosen: Any = mode or os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        folder.mkdir(parents=True, exist_ok=True)
        quiet = wandb.Settings(silent=True, console="off")
        about: dict[str, Any] = {"project": project, "entity": entity, "name": name, "group": group}
        run = wandb.init(**about, dir=folder, mode=chosen, config=settings, settings=quiet)
        where = run.url if chosen == "online" else f"{chosen} run in {Path(run.dir).parent}"
        print(f"Weights & Biases: {where}", flush=True)
        self.lightning, self.run = WandbLogger(experiment=run), run
        run.define_metric("live/*", step_metric="live/epoch")
        run.define_metric("cosine/*", step_metric="epoch")

    def results(self, comparison: Comparison, figure: Figure) -> None:
        """The curves step by step, then all of them as a table, and the figure."""
        super().results(comparison, figure)
        self.run.log({"curves": wandb.Table(dataframe=comparison.curves), "figure": wandb.Image(figure)})

    def close(self, failed: bool) -> None:
        """End the W&B run."""
        self.run.finish(exit_code=int(failed))


def logged_in() -> bool:
    """Whether W&B has a key for its server, in the environment or in the netrc file, without asking for one."""
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return bool(os.environ.get("WANDB_API_KEY")) or requests.utils.get_netrc_auth(server) is not None
