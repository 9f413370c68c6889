"""How Lightning is used here: one device, no checkpoints, no bars or summaries of its own."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch.utils.data import DataLoader


def fit(
    module: pl.LightningModule,
    epochs: int,
    device: torch.device,
    loader: DataLoader | None = None,
    logger: Logger | None = None,
    callbacks: Iterable[pl.Callback] = (),
) -> None:
    """Train `module` for some epochs.

    Args:
        module: brings its own batches where `loader` is None.
        epochs: passes over the batches.
        device: a CPU or one GPU.
        loader: batches.
        logger: what the module and the callbacks log to.
        callbacks: follow the training.

    Raises:
        KeyboardInterrupt: when the user interrupts (Lightning would end the process without a word).
    """
    with quiet_lightning():
        _fit(module, epochs, device, loader, logger, callbacks)


def _fit(
    module: pl.LightningModule,
    epochs: int,
    device: torch.device,
    loader: DataLoader | None,
    logger: Logger | None,
    callbacks: Iterable[pl.Callback],
) -> None:
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=epochs,
        logger=logger or False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    try:
        trainer.fit(module, loader)
    except SystemExit as ended:
        raise KeyboardInterrupt from ended


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Inside, Lightning says nothing of hardware, workers and loggers that are not wanted here."""
    lightning = logging.getLogger("pytorch_lightning")
    level = lightning.level
    lightning.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            for source in ("pytorch_lightning", "lightning_fabric"):
                warnings.filterwarnings("ignore", module=source)
            yield
    finally:
        lightning.setLevel(level)
