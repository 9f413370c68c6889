"""Training the final model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler
from torch.utils.data import DataLoader, Dataset

from fimo.errors import UserError, short
from fimo.models.copies import copy_of
from fimo.models.evaluation import metrics
from fimo.models.fitting import fit
from fimo.models.objective import Objective
from fimo.rows import Inputs, Rows, map_inputs

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
# What becomes of the learning rate over so many steps: nothing, or it goes to 0, which it is after the last.
SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, int], LRScheduler] | None] = {
    "constant": None,
    "linear": lambda optimizer, steps: LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps),
    "cosine": CosineAnnealingLR,
}

KEEP = ("last", "best")


class FinalTraining(pl.LightningModule):
    """Ordinary training of one network on batches of `Rows`.

    The steps are its own: what Lightning does around an optimiser takes as long as a step of a small network.

    Args:
        network: trained in place.
        objective: its mean over the batch is descended.
        optimizer: `sgd`, `adam` or `adamw`, with torch's settings apart from learning rate and weight decay.
        lr: learning rate.
        weight_decay: of the optimiser.
        clip: bound on the gradient's norm, or none.
        augment: called on the inputs of each batch, or None.
        validation_rows: rows on which the network is evaluated after each epoch; the parameters of the best epoch
            (highest accuracy, or lowest loss where there is none; the first of equals) are then those of the final
            model. None takes the last epoch's.
        schedule: of the learning rate, one of `SCHEDULES`. Where it goes to 0 the noise of the batches does too, and
            the network ends close to where the mean training gradient is zero.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        optimizer: str,
        lr: float,
        weight_decay: float = 0.0,
        clip: float | None = None,
        augment: Callable[[Any], Any] | None = None,
        validation_rows: Rows | None = None,
        schedule: str = "constant",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.objective = network, objective
        self.optimizer_class, self.lr, self.weight_decay = OPTIMIZERS[optimizer], lr, weight_decay
        self.clip, self.augment, self.schedule = clip, augment, SCHEDULES[schedule]
        self.validation_rows = validation_rows
        self.best_epoch, self.best_value = 0, -torch.inf
        self.best_state: dict[str, Tensor] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of all parameters, with the schedule of its learning rate over the steps of all epochs."""
        settings: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        self.stepped = self.optimizer_class(self.network.parameters(), **settings)
        if self.schedule is not None:
            self.rates = self.schedule(self.stepped, int(self.trainer.estimated_stepping_batches))
        return self.stepped

    def training_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        """One step down the mean loss of a batch.

        Args:
            batch: inputs and targets.
            batch_idx: it doesn't matter.
        """
        inputs, targets = batch
        if self.augment is not None:
            inputs = self.augment(inputs)
        self.stepped.zero_grad()
        self.objective.loss(self.network(inputs), targets).mean().backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.stepped.step()
        if self.schedule is not None:
            self.rates.step()

    def on_train_epoch_end(self) -> None:
        """Stop at once where training diverged; remember the parameters where they are the best so far.

        Raises:
            UserError: where a parameter is no longer a finite number.
        """
        if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
            raise UserError(
                f"Training the final model diverged in epoch {self.current_epoch + 1} (its parameters are no longer "
                f"finite): lower final.lr, found {self.lr}."
            )
        if self.validation_rows is None:
            return
        measured = metrics(self.network, self.objective, self.validation_rows)
        self.network.train()
        value = measured.get("accuracy", -measured["loss"])
        if value > self.best_value:
            self.best_value, self.best_epoch = value, self.current_epoch + 1
            self.best_state = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def on_train_end(self) -> None:
        """Go back to the best epoch, where there are validation rows."""
        if self.best_state:
            self.network.load_state_dict(self.best_state)


def train_final(module: FinalTraining, rows: Rows, order: Any, epochs: int, device: torch.device) -> None:
    """Train a network in place.

    Args:
        module: the network and how it is trained.
        rows: all training rows.
        order: yields batches of row positions, anew each epoch (see `fimo.further_training.order.Order`).
        epochs: passes over the training rows; 0 leaves the network as it is.
        device: a CPU or one GPU.

    Raises:
        UserError: where training diverges.
    """
    if epochs == 0:
        return
    dataset: Dataset = rows  # type: ignore[assignment]
    loader: DataLoader = DataLoader(dataset, sampler=order, batch_size=None)
    module.train()  # Lightning leaves the mode as it finds it
    fit(module, epochs, device, loader)


def without_variance(network: nn.Module, inputs: Inputs) -> ValueError | None:
    """Why batch normalisation can't take the statistics of some rows; None where it can, or there is none.

    Args:
        network: a copy in training mode, whose statistics may change.
        inputs: of the rows.
    """
    try:
        with torch.random.fork_rng(), torch.no_grad():
            network(inputs)
    except ValueError as reason:  # "Expected more than 1 value per channel when training"
        return reason
    return None


def require_variance(network: nn.Module, rows: Rows, batch_size: int) -> None:
    """Refuse, before the first epoch, a last batch of one row that batch normalisation can't train on.

    Args:
        network: it is copied, since its statistics change.
        rows: all training rows.
        batch_size: rows in a batch.

    Raises:
        UserError: naming the number of rows and the size of batches.
    """
    if len(rows) % batch_size != 1 and batch_size != 1:
        return
    device = next(network.parameters()).device
    inputs = map_inputs(lambda tensor: tensor.to(device), rows[slice(0, 1)][0])
    if reason := without_variance(copy_of(network).train(), inputs):
        raise UserError(
            f"Batch normalisation can't train on one row, but {len(rows)} training rows in batches of {batch_size} "
            f"leave a last batch of one: choose another final.batch_size ({short(reason)})."
        ) from reason
