"""The runs behind a figure of several data sets: each is made, or found, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fimo.app import settings
from fimo.app.answer import answer
from fimo.app.errors import CONFIG_DIR
from fimo.app.main import prepare
from fimo.comparison.tables import Comparison
from fimo.errors import Unavailable, UserError
from fimo.paper.damping_grid import damped_scores
from fimo.pipeline import artifacts, results, stages
from fimo.pipeline.run import Question, say

# Below the folder of the figures: the results folders of their panels.
RUNS = "runs"


@dataclass
class Panel:
    """A finished run.

    Attributes:
        cfg: its config.
        folder: its results.
    """

    cfg: DictConfig
    folder: Path

    @cached_property
    def comparison(self) -> Comparison:
        """Its tables."""
        return results.read(self.folder)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The paper's claims of it."""
        return pd.read_csv(self.folder / artifacts.CLAIMS)

    @cached_property
    def asked(self) -> Question:
        """Its question; data are loaded when they are asked for."""
        return Question(self.cfg)

    @cached_property
    def damped(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Scores with many dampings, and the matched one at each step."""
        return damped_scores(self.asked)

    @property
    def measured(self) -> str:
        """What stands over it: `SGD, 3 seeds`, and the size where it is not the default."""
        size = "" if self.cfg.facts.size == "laptop" else f" (size={self.cfg.facts.size})"
        return f"{results.measured(self.cfg, self.comparison)}{size}"

    @cached_property
    def run(self) -> dict[str, Any]:
        """Its run.json."""
        return artifacts.read_run(self.folder) or {}

    def scores(self) -> stages.Scores:
        """The scores by label."""
        return stages.read_scores(self.cfg)

    def losses(self) -> list[xr.Dataset]:
        """The losses of each seed."""
        return list(stages.finished_seeds(self.cfg).values())


@dataclass
class Panels:
    """All runs that the figures of one call need.

    Attributes:
        overrides: of the configs of all panels, as on the command line.
    """

    overrides: Sequence[str]
    made: dict[tuple[str, ...], Panel | str] = field(default_factory=dict)

    @cached_property
    def folder(self) -> Path:
        """Where the figures lie."""
        return Path(composed(self.overrides).paths.results_dir) / "paper"

    def get(self, experiment: str, *more: str) -> Panel | str:
        """The run of an experiment, made where it isn't there; or why there can't be one, in a sentence.

        Args:
            experiment: its name.
            more: overrides of this panel.
        """
        key = (experiment, *more)
        if key not in self.made:
            self.made[key] = self._made(*key)
        return self.made[key]

    def _made(self, experiment: str, *more: str) -> Panel | str:
        say(f"\n{' '.join((experiment, *more))}")
        cfg = composed([f"experiment={experiment}", *self.overrides, *more])  # what a figure shows has the last word
        optimizer = settings.optimizer_name(cfg).lower()
        gold = [] if cfg.further.gold == settings.FURTHER else [str(cfg.further.gold)]
        cfg.name = "-".join([cfg.name, optimizer, *gold, cfg.facts.size])
        cfg.paths.results_dir = str(self.folder / RUNS)
        asked = Question(cfg)
        try:
            prepare(cfg)
        except Unavailable as reason:
            return _empty(experiment, reason)
        try:
            asked.data  # noqa: B018  (loaded, or not to be had)
        except UserError as reason:
            return _empty(experiment, reason)
        answer(asked)
        return Panel(cfg, results.folder_of(cfg))


def _empty(experiment: str, reason: UserError) -> str:
    say(f"{experiment} stays empty: {reason}")
    return str(reason)


def composed(overrides: Sequence[str]) -> DictConfig:
    """The config that the apps have with these overrides."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("config", list(overrides))
