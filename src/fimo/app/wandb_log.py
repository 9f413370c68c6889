"""Curves on Weights & Biases."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.loggers import WandbLogger

from fimo.app.loggers import NoLog
from fimo.app.settings import without
from fimo.comparison.tables import Comparison
from fimo.errors import UserError, short
from fimo.pipeline.files import digest, folder_name, short_hash, write

logger = logging.getLogger(__name__)

MODES = ("online", "offline", "disabled")
# How long the server is waited for: until it is reached and answers, until a run has begun, and until one has ended.
REACH_SECONDS, BEGIN_SECONDS, END_SECONDS = (3, 5), 20, 60
# Characters of a name that W&B's server takes.
NAME_LENGTH = 128
# What the network and the disk raise; what W&B itself raises has no class in common, and is known by its module.
ERRORS = (OSError, requests.RequestException)
# Settings that make no other W&B run of one: where and how fast it is computed, and how many seeds.
SAME_RUN = ("logger", "paths", "device", "threads")
SAME_FURTHER = ("seeds", "first_seed", "jobs", "job", "processes", "runs_at_once", "seeds_at_once")
# Which W&B run a results folder is, and the curves that were logged last.
MEMORY = "wandb.json"


class WandbLog(NoLog):
    """One W&B run for each results folder: live curves, config, final curves, table and figure. It never asks anything.

    The same run goes on where it is called again, after a kill too. Where the server can't be reached
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
        UserError: for another mode in the environment variable WANDB_MODE, and a project that W&B does not take.
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
        further = without(settings.get("further", {}), *SAME_FURTHER)
        self.config = short_hash({**without(settings, *SAME_RUN), "further": further})
        name = folder_name(name, NAME_LENGTH)
        folder.mkdir(parents=True, exist_ok=True)
        about = {"project": project, "entity": entity, "name": name, "group": group, "dir": folder, "config": settings}
        self.run = _begun(chosen_mode(mode), {**about, "id": self._remembered()["id"], "resume": "allow"})
        self.lightning = self.guard = GuardedLogger(experiment=self.run)
        self.guard.guarded(lambda: self.run.define_metric("live/*", step_metric="live/epoch"))
        self.guard.guarded(lambda: self.run.define_metric("cosine/*", step_metric="epoch"))

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
        self.guard.guarded(lambda: self._more(comparison, figure, keys))
        if not self.guard.silenced:
            write(self.memory, json.dumps({**remembered, "curves": curves}).encode())

    def _more(self, comparison: Comparison, figure: Figure, keys: Mapping[str, str]) -> None:
        """Labels by key in the config, the curves' table and the figure."""
        self.run.config.update({"labels": {name: label for label, name in keys.items()}}, allow_val_change=True)
        self.run.log({"curves": wandb.Table(dataframe=comparison.curves), "figure": wandb.Image(figure)})

    def page(self, path: Path) -> None:
        """Upload `report.html` where it is there; the same one is not uploaded a second time."""
        remembered, content = self._remembered(), digest(path) if path.is_file() else None
        if content is None or remembered.get("page") == content:
            return
        self.guard.guarded(lambda: self.run.log({"report": wandb.Html(path.read_text(), inject=False)}))
        if not self.guard.silenced:
            write(self.memory, json.dumps({**remembered, "page": content}).encode())

    def close(self, failed: bool) -> None:
        """End the W&B run; what could not be sent lies in the results folder."""
        self.guard.guarded(lambda: self.run.finish(exit_code=int(failed)))

    def _remembered(self) -> dict[str, str]:
        """Which W&B run the folder is; a new one where it is none yet, or was one of another config."""
        try:
            memory = json.loads(self.memory.read_text())
        except (FileNotFoundError, ValueError):  # a damaged file costs a new W&B run
            memory = {}
        if "id" not in memory or memory.get("config") != self.config:
            memory = {"id": uuid.uuid4().hex[:8], "config": self.config}
            write(self.memory, json.dumps(memory).encode())
        return memory


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
        except Exception as reason:
            if not _of_wandb(reason):
                raise
            self.silenced = True
            logger.warning("Weights & Biases failed (%s): nothing is logged there from here on", short(reason))


def _begun(mode: str, about: dict[str, Any]) -> Any:
    """A W&B run, offline where the server can't be had."""

    def begin(mode: Any) -> Any:
        quiet = wandb.Settings(
            silent=True, console="off", init_timeout=BEGIN_SECONDS, finish_timeout=END_SECONDS, login_timeout=1
        )
        with _mode_in_environment(mode):
            return wandb.init(**about, mode=mode, settings=quiet)

    reason = "no key: wandb login" if mode == "online" and not logged_in() else None
    if mode == "online" and reason is None:
        try:
            requests.head(server(), timeout=REACH_SECONDS)
            run = begin("online")
            logger.info("Weights & Biases: %s", run.url)
            return run
        except Exception as error:
            if not _of_wandb(error):
                raise
            reason = short(error)
            wandb.teardown()
    if reason is not None:
        logger.warning("Weights & Biases is unavailable (%s): the log is offline", reason)
        mode = "offline"
    try:
        run = begin(mode)
    except wandb.errors.UsageError as error:
        raise UserError(f"logger.project and logger.entity must be what W&B takes: {short(error, 300)}.") from error
    except Exception as error:
        if not _of_wandb(error):
            raise
        logger.warning("Weights & Biases can't begin (%s): nothing is logged there", short(error))
        return begin("disabled")
    logger.info("Weights & Biases: %s run in %s", mode, Path(run.dir).parent)
    return run


@contextmanager
def _mode_in_environment(mode: str) -> Iterator[None]:
    """W&B reads WANDB_MODE by itself, and takes fewer spellings than `chosen_mode`: it sees the chosen mode there."""
    before = os.environ.get("WANDB_MODE")
    os.environ["WANDB_MODE"] = mode
    try:
        yield
    finally:
        del os.environ["WANDB_MODE"]
        if before is not None:
            os.environ["WANDB_MODE"] = before


def _of_wandb(error: Exception) -> bool:
    """Whether W&B, the network or the disk failed; anything else is a bug."""
    return isinstance(error, ERRORS) or type(error).__module__.partition(".")[0] == "wandb"


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
