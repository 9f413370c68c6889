"""Agreement while further training is under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import xarray as xr

from fimo.comparison.agreement import Mean, cosine
from fimo.effect import average, effect


class LiveAgreement(pl.Callback):
    """Logs the mean centred cosine of each method at every evaluation.

    The gold standard is the mean over the seeds that have come so far to this evaluation, the current ones among them:
    `live/cosine/<name>` against `live/epoch`, with their number as `live/seeds`. Left-out examples with a run that
    diverged are not compared.

    Args:
        scores: `[test, left_out]`, or `[step, test, left_out]`, by label.
        finished: losses of seeds that were finished before.
        adjustment: of the effects, one of `fimo.effect.ADJUSTMENTS`.
        names: of the methods, by label, for the keys; None takes the labels.
    """

    def __init__(
        self,
        scores: Mapping[str, xr.DataArray],
        finished: Iterable[xr.Dataset] = (),
        adjustment: str = "centred",
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.scores, self.adjustment = scores, adjustment
        self.names = names or {label: label for label in scores}
        self.totals: dict[int, np.ndarray] = {}  # sum of effects over seeds, [test, left_out], by step
        self.seeds: dict[int, int] = {}
        self.logged = 0
        for losses in finished:
            self._add(losses.expand_dims("seed"))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look for newly taken losses, `{"losses": [seed, step, test, left_out]}`.

        Args:
            trainer: whose logger takes the numbers.
            pl_module: not used.
            outputs: of the training step.
            batch: not used.
            batch_idx: not used.
        """
        if outputs and "losses" in outputs and trainer.logger is not None:
            trainer.logger.log_metrics(self.update(outputs["losses"]), step=self.logged)
            self.logged += 1

    def update(self, losses: xr.Dataset) -> dict[str, float]:
        """Add some seeds' losses at one step to the mean, and compare."""
        self._add(losses)
        step = int(losses["step"][0])
        mean = self.totals[step] / self.seeds[step]
        kept = np.isfinite(mean).all(0)
        like = effect(losses, self.adjustment).isel(seed=[0], step=0)
        gold = like.copy(data=mean[None]).isel(left_out=kept)
        metrics = {"live/epoch": float(losses["epoch"][0]), "live/seeds": float(self.seeds[step])}
        for label, score in self.scores.items():
            at_step = (score.sel(step=step) if "step" in score.dims else score).isel(left_out=kept)
            agreement = cosine(at_step.values, average(gold, self.adjustment).values) if kept.any() else np.array([])
            metrics[f"live/cosine/{self.names[label]}"] = float(Mean.of(agreement).mean)
        return metrics

    def _add(self, losses: xr.Dataset) -> None:
        effects = effect(losses, self.adjustment)
        for step, values in zip(losses["step"].values, effects.sum("seed", skipna=False).values, strict=True):
            self.totals[int(step)] = self.totals.get(int(step), 0) + values
            self.seeds[int(step)] = self.seeds.get(int(step), 0) + losses.sizes["seed"]
