"""The files of the gold standard's seeds."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Self

import xarray as xr

from fimo.pipeline import addresses, formats
from fimo.pipeline.artifacts import Artifact, seed_file
from fimo.pipeline.run import Run


def missing_seeds(artifact: Artifact, seeds: Iterable[int]) -> list[int]:
    """Those of the seeds that are not there.

    Args:
        artifact: where they lie.
        seeds: to look for.
    """
    return [seed for seed in seeds if not artifact.has(seed_file(seed))]


class SeedFiles:
    """The files of a run's seeds, opened once each and closed together; values are read when they are needed.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        self.run, self._open, self._files = run, dict[int, xr.Dataset](), ExitStack()

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def finished(self) -> dict[int, xr.Dataset]:
        """The losses of the seeds that are there now, of all that were asked for."""
        gold = addresses.further_training(self.run)
        for seed in self.run.seeds.all:
            if seed not in self._open and gold.has(seed_file(seed)):
                path = gold.path(seed_file(seed))
                self._open[seed] = self._files.enter_context(formats.open_dataset(path))
        return {seed: self._open[seed] for seed in self.run.seeds.all if seed in self._open}

    def entry(self, seed: int) -> dict[str, Any]:
        """What is known of a seed's file: the `seconds` and `processor_seconds` that the seed took.

        Args:
            seed: that is there.
        """
        return addresses.further_training(self.run).entry(seed_file(seed))

    def close(self) -> None:
        """Close all files."""
        self._files.close()

    def __exit__(self, *raised: object) -> None:
        """Close all files."""
        self.close()
