"""Curves on Weights & Biases."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import requests
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.loggers import WandbLogger

from fimo.app.loggers import NoLog
from fimo.comparison.tables import Comparison

logger = logging.getLogger(__name__)


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
        logger.info("Weights & Biases: %s", where)
        self.lightning, self.run = WandbLogger(experiment=run), run
        run.define_metric("live/*", step_metric="live/epoch")
        run.define_metric("cosine/*", step_metric="epoch")

    def results(self, comparison: Comparison, figure: Figure) -> None:
        """Log the curves step by step, then all of them as a table, and the figure.

        Args:
            comparison: the finished tables.
            figure: of the curves.
        """
        super().results(comparison, figure)
        self.run.log({"curves": wandb.Table(dataframe=comparison.curves), "figure": wandb.Image(figure)})

    def close(self, failed: bool) -> None:
        """End the W&B run."""
        self.run.finish(exit_code=int(failed))


def logged_in() -> bool:
    """Whether W&B has a key for its server, in the environment or in the netrc file, without asking for one."""
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return bool(os.environ.get("WANDB_API_KEY")) or requests.utils.get_netrc_auth(server) is not None
