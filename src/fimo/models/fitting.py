"""How Lightning is used here: one device, no checkpoints, no bars or summaries of its own."""

from __future__ import annotations

from collections.abc import Iterable

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
