"""Curves on Weights & Biases."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.loggers import WandbLogger

from fimo.app.loggers import NoLog
from fimo.comparison.tables import Comparison
from fimo.errors import UserError, short
from fimo.pipeline.files import write

logger = logging.getLogger(__name__)

MODES = ("online", "offline", "disabled")
# How long the server is waited for: until it is reached and answers, until a run has begun, and until one has ended.
REACH_SECONDS, BEGIN_SECONDS, END_SECONDS = (3, 5), 20, 60
# What Weights & Biases and the network raise. The client sends in the background and raises for what ended it.
ERRORS = (wandb.Error, OSError, requests.RequestException)
# Which W&B run a results folder is, and the curves that were logged last.
MEMORY = "wandb.json"


class WandbLog(NoLog):
    """One W&B run for each results folder: live curves, config, final curves, table and figure. It never asks anything.

    The same run goes on where it is called again, with more seeds or after a kill. Where the server can't be reached
    the log is offline, and whatever fails later ends the log and not the run.

    Args:
        folder: results folder; offline runs lie in it.
        name: of the run.
        settings: the whole config, logged with it.
        group: what the runs of a sweep share.
        project: of the run.
        entity: user or team, or None.
        mode: `online`, `offline` or `disabled`; None is online where the user is logged in, and offline else.

    Raises:
        UserError: for another mode in the environment variable WANDB_MODE.
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
        self.memory = folder / MEMORY
        folder.mkdir(parents=True, exist_ok=True)
        about = {"project": project, "entity": entity, "name": name, "group": group, "dir": folder, "config": settings}
        self.run = _begun(chosen_mode(mode), {**about, "id": self._remembered()["id"], "resume": "allow"})
        self.lightning = self.guard = GuardedLogger(experiment=self.run)
        self.run.define_metric("live/*", step_metric="live/epoch")
        self.run.define_metric("cosine/*", step_metric="epoch")

    def results(self, comparison: Comparison, figure: Figure, keys: Mapping[str, str]) -> None:
        """Log the curves step by step, then all of them as a table, and the figure; none of it a second time.

        Args:
            comparison: the finished tables.
            figure: of the curves.
            keys: the name of each method, by its label.
        """
        remembered, curves = self._remembered(), hashlib.sha256(comparison.curves.to_csv().encode()).hexdigest()
        if remembered.get("curves") == curves:
            return
        super().results(comparison, figure, keys)
        pictures = {"curves": wandb.Table(dataframe=comparison.curves), "figure": wandb.Image(figure)}
        self.guard.guarded(lambda: self.run.log(pictures))
        write(self.memory, json.dumps({**remembered, "curves": curves}).encode())

    def close(self, failed: bool) -> None:
        """End the W&B run; what could not be sent lies in the results folder."""
        self.guard.guarded(lambda: self.run.finish(exit_code=int(failed)))

    def _remembered(self) -> dict[str, str]:
        """Which W&B run the folder is; a new one where it is none yet."""
        if not self.memory.is_file():
            write(self.memory, json.dumps({"id": uuid.uuid4().hex[:8]}).encode())
        return json.loads(self.memory.read_text())


class GuardedLogger(WandbLogger):
    """Lightning's logger, which a failure of W&B silences after one line of the log."""

    silenced = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log some numbers.

        Args:
            metrics: by key.
            step: of Lightning's.
        """
        self.guarded(lambda: super(GuardedLogger, self).log_metrics(metrics, step))

    def guarded(self, action: Callable[[], object]) -> None:
        """Do something with W&B; the first failure is told, and nothing is logged after it."""
        if self.silenced:
            return
        try:
            action()
        except ERRORS as reason:
            self.silenced = True
            logger.warning("Weights & Biases failed (%s): nothing is logged there from here on", short(reason))


def _begun(mode: str, about: dict[str, Any]) -> Any:
    """A W&B run, offline where the server can't be had."""

    def begin(mode: Any) -> Any:
        quiet = wandb.Settings(
            silent=True, console="off", init_timeout=BEGIN_SECONDS, finish_timeout=END_SECONDS, login_timeout=1
        )
        return wandb.init(**about, mode=mode, settings=quiet)

    reason = "no key: wandb login" if mode == "online" and not logged_in() else None
    if mode == "online" and reason is None:
        try:
            requests.head(server(), timeout=REACH_SECONDS)
            run = begin("online")
            logger.info("Weights & Biases: %s", run.url)
            return run
        except ERRORS as error:
            reason = short(error)
            wandb.teardown()
    if reason is not None:
        logger.warning("Weights & Biases is not to be had (%s): the log is offline", reason)
        mode = "offline"
    run = begin(mode)
    logger.info("Weights & Biases: %s run in %s", mode, Path(run.dir).parent)
    return run


def chosen_mode(mode: str | None) -> str:
    """The mode of W&B: as configured, as WANDB_MODE says, or online where the user is logged in.

    Args:
        mode: as configured, or None.

    Raises:
        UserError: for another one in WANDB_MODE.
    """
    given = os.environ.get("WANDB_MODE", "").strip().lower()
    if mode is None and given and given not in MODES:
        raise UserError(f"WANDB_MODE must be one of {', '.join(MODES)} or not set, found {given!r}.")
    return mode or given or ("online" if logged_in() else "offline")


def server() -> str:
    """The address of W&B's server."""
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def logged_in() -> bool:
    """Whether W&B has a key for its server, in the environment or in the netrc file, without asking for one."""
    return bool(os.environ.get("WANDB_API_KEY")) or requests.utils.get_netrc_auth(server()) is not None
