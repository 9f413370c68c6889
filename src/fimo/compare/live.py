"""Agreement while further training is under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import xarray as xr

from fimo.compare.agreement import Mean, comparable, cosine
from fimo.effect import average, effect


class LiveAgreement(pl.Callback):
    """Logs the mean centred cosine of each method at every evaluation.

    The gold standard is the mean over the seeds that have come so far to this evaluation, the current ones among them:
    `live/cosine/<label>` against `live/epoch`, with their number as `live/seeds`.

    Args:
        scores: `[test, left_out]`, or `[step, test, left_out]`, by label.
        adjustment: of the effects, one of `fimo.effect.ADJUSTMENTS`.
    """

    def __init__(self, scores: Mapping[str, xr.DataArray], adjustment: str = "centred") -> None:
        self.scores, self.adjustment = scores, adjustment
        self.totals: dict[int, xr.DataArray] = {}  # sum of effects over seeds, by step
        self.seeds: dict[int, int] = {}
        self.logged = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look for newly taken losses, `{"losses": [seed, step, test, left_out]}`."""
        if outputs and "losses" in outputs and trainer.logger is not None:
            trainer.logger.log_metrics(self.update(outputs["losses"]), step=self.logged)
            self.logged += 1

    def update(self, losses: xr.Dataset) -> dict[str, float]:
        """Add some seeds' losses at one step to the mean, and compare."""
        step = int(losses["step"][0])
        effects = effect(losses, self.adjustment).isel(step=0)
        self.totals[step] = self.totals.get(step, 0) + effects.sum("seed", skipna=False)
        self.seeds[step] = self.seeds.get(step, 0) + losses.sizes["seed"]
        gold = average((self.totals[step] / self.seeds[step]).expand_dims("seed"), self.adjustment)
        metrics = {"live/epoch": float(losses["epoch"][0]), "live/seeds": float(self.seeds[step])}
        for label, score in self.scores.items():
            at_step = score.sel(step=step) if "step" in score.dims else score
            metrics[f"live/cosine/{label}"] = Mean.of(cosine(*comparable(at_step.values, gold.values))).mean
        return metrics
