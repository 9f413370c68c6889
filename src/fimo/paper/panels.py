"""The runs behind a figure of several data sets: each is made, or found, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from fimo.comparison.removal import Verification
from fimo.comparison.tables import Comparison
from fimo.errors import MethodFailed, Unavailable, UserError
from fimo.paper.damping_grid import damped_scores
from fimo.pipeline import artifacts, results
from fimo.pipeline.attribute import Scores, read_scores
from fimo.pipeline.figures import measured, seeds_of
from fimo.pipeline.rank_all import ranked
from fimo.pipeline.run import Run
from fimo.pipeline.run_all import run_all
from fimo.pipeline.seed_files import SeedFiles
from fimo.pipeline.verify_all import verified

logger = logging.getLogger(__name__)
# What is made of a run: the comparison of methods, rankings of all rows, and whether these are true.
COMPARE, RANK, VERIFY = "compare", "rank", "verify"
# Below the folder of the results: the figures, and below these the results folders of their panels.
PAPER, RUNS = "paper", "runs"


def _compared(run: Run) -> Path:
    run_all(run, show_table=False)
    return results.folder_of(run)


USES: dict[str, Callable[[Run], Path]] = {
    COMPARE: _compared,
    RANK: lambda run: ranked(run)[0],
    VERIFY: lambda run: verified(run)[0],
}


@dataclass
class Panel:
    """A finished run.

    Attributes:
        run: what was asked for.
        folder: its results.
        published_dir: the numbers that the paper prints, a file for each experiment.
    """

    run: Run
    folder: Path
    published_dir: Path

    @cached_property
    def comparison(self) -> Comparison:
        """Its tables."""
        return results.read(self.folder)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The claims about it."""
        return pd.read_csv(self.folder / artifacts.CLAIMS)

    @cached_property
    def damped(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Scores with many dampings, and the matched one at each step."""
        return damped_scores(self.run)

    @cached_property
    def verification(self) -> Verification:
        """Its tables of removals, where it is a verification."""
        return results.read_verification(self.folder, self.run.removed.end)

    @property
    def measured(self) -> str:
        """What stands over it: `SGD, 3 seeds`, and the size where it is not the default."""
        size = "" if self.run.size == "laptop" else f" (size={self.run.size})"
        if "compared" not in self.record:  # a ranking, for which nothing was trained on
            return f"n = {len(self.run.dataset.train):,}{size}"
        if (self.folder / artifacts.CURVES).is_file():
            return f"{measured(self.run, seeds_of(self.comparison))}{size}"
        return f"{self.run.training.optimizer_name}, {len(self.record['compared'])} seeds{size}"

    @cached_property
    def record(self) -> dict[str, Any]:
        """Its run.json."""
        return artifacts.read_run(self.folder) or {}

    @cached_property
    def scores(self) -> Scores:
        """The scores by label."""
        return read_scores(self.run).scores

    @cached_property
    def seeds(self) -> SeedFiles:
        """The files of the seeds; `Panels` closes them."""
        return SeedFiles(self.run)

    @property
    def losses(self) -> list[xr.Dataset]:
        """The losses of each seed."""
        return list(self.seeds.finished().values())

    def close(self) -> None:
        """Close the files of the seeds, where they were opened."""
        if "seeds" in vars(self):
            self.seeds.close()


@dataclass
class Panels:
    """All runs that the figures of one call need.

    Attributes:
        make_run: the run of some overrides, or `Unavailable`.
        overrides: of all panels, as on the command line.
        results_dir: where results lie.
        published_dir: the numbers that the paper prints, a file for each experiment.
        size: of all panels, part of the name of every file.
    """

    make_run: Callable[[Sequence[str]], Run]
    overrides: Sequence[str]
    results_dir: str | Path
    published_dir: Path
    size: str = "laptop"
    made: dict[tuple[str, ...], Panel | str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the figures lie."""
        return Path(self.results_dir) / PAPER

    def get(self, experiment: str, *more: str, use: str = COMPARE, methods: str | None = None) -> Panel | str:
        """The run of an experiment, made where it isn't there; or why there can't be one, in a sentence.

        Args:
            experiment: its name.
            more: overrides of this panel.
            use: what is made of it, one of `USES`.
            methods: taken where the overrides of all panels name none, `cg,trak`; None for those of a run.
        """
        if methods is not None and not any(override.startswith("method=") for override in self.overrides):
            more = (f"method=[{methods}]", *more)
        key = (use, experiment, *more)
        if key not in self.made:
            self.made[key] = self._make(*key)
        return self.made[key]

    def _make(self, use: str, experiment: str, *more: str) -> Panel | str:
        logger.info("\n%s", " ".join((experiment, *more)))
        try:
            # What a figure shows has the last word.
            run = self.make_run([f"experiment={experiment}", *self.overrides, *more])
        except Unavailable as reason:
            return _empty(experiment, reason)
        name = run.name if use == COMPARE else f"{run.name}-{use}"
        run = replace(run, results_dir=self.folder / RUNS, name=name)
        try:
            run.dataset  # noqa: B018  (loaded, or not to be had)
        except UserError as reason:
            return _empty(experiment, reason)
        try:
            return Panel(run, USES[use](run), self.published_dir)
        except MethodFailed as reason:  # of every method
            return _empty(experiment, reason)

    def close(self) -> None:
        """Close the files that panels opened."""
        for panel in self.made.values():
            if isinstance(panel, Panel):
                panel.close()


def _empty(experiment: str, reason: UserError) -> str:
    logger.info("%s stays empty: %s", experiment, reason)
    return str(reason)
