"""A progress bar over all seeds, with an estimate of the time left."""

from __future__ import annotations

import sys
from typing import Any, Self

import pytorch_lightning as pl
from tqdm import tqdm

TERMINAL_INTERVAL = 0.5  # seconds between two states of the bar on a terminal


class Progress(pl.Callback):
    """Counts training steps of all seeds to come: a bar on a terminal, and elsewhere a line now and then, if wanted.

    Args:
        seeds: how many are still to be computed.
        log_interval: seconds between two lines where standard error is no terminal; None for no line at all.
    """

    def __init__(self, seeds: int, log_interval: float | None = None) -> None:
        self.seeds, self.log_interval = seeds, log_interval
        self.steps, self.processes = 0, 1  # of a seed; that share the seeds
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar with the first seed's steps known.

        Args:
            trainer: which knows how many steps there are.
            pl_module: it doesn't matter.
        """
        interval = TERMINAL_INTERVAL if sys.stderr.isatty() else self.log_interval
        if self.bar is None and interval is not None:
            self.steps = int(trainer.num_training_batches) * int(trainer.max_epochs or 1)
            self.bar = tqdm(
                total=self.seeds * self.steps // self.processes,
                desc="further training",
                unit=" steps",
                mininterval=interval,
                dynamic_ncols=True,
            )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count one step of every seed of the module.

        Args:
            trainer: it doesn't matter.
            pl_module: the module, which knows its seeds.
            outputs: they don't matter.
            batch: it doesn't matter.
            batch_idx: it doesn't matter.
        """
        if self.bar is not None:
            self.bar.update(len(pl_module.seeds))

    def share(self, left: int, processes: int) -> None:
        """From now on so many processes compute the seeds left: this one counts its part of them.

        Args:
            left: seeds that are still to be computed.
            processes: that compute them, this one among them.
        """
        self.processes = processes
        if self.bar is not None:
            self.bar.total = self.bar.n + left * self.steps // processes
            self.bar.refresh()

    def __enter__(self) -> Self:
        """The bar opens with the first seed."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()
