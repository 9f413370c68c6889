"""Training the final model."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fimo.errors import UserError
from fimo.models.fitting import fit
from fimo.models.objective import Objective
from fimo.rows import Rows

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


class FinalTraining(pl.LightningModule):
    """Ordinary training of one network on batches of `Rows`.

    Args:
        network: trained in place.
        objective: its mean over the batch is descended.
        optimizer: `sgd`, `adam` or `adamw`, with torch's settings apart from the learning rate.
        lr: learning rate.
    """

    def __init__(self, network: nn.Module, objective: Objective, optimizer: str, lr: float) -> None:
        super().__init__()
        self.network, self.objective = network, objective
        self.optimizer_class, self.lr = OPTIMIZERS[optimizer], lr

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of all parameters."""
        return self.optimizer_class(self.network.parameters(), lr=self.lr)  # type: ignore[call-arg]

    def training_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> Tensor:
        """Mean loss of a batch."""
        inputs, targets = batch
        return self.objective.loss(self.network(inputs), targets).mean()

    def on_train_epoch_end(self) -> None:
        """Stop at once where training diverged."""
        if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
            raise UserError(
                f"Training the final model diverged in epoch {self.current_epoch + 1} (its parameters are no longer "
                f"finite): lower final.lr, found {self.lr}."
            )


def train_final(module: FinalTraining, rows: Rows, order: Any, epochs: int, device: torch.device) -> None:
    """Train `module.network` for some epochs on the batches of row positions that `order` yields anew each epoch."""
    dataset: Dataset = rows  # type: ignore[assignment]
    loader: DataLoader = DataLoader(dataset, sampler=order, batch_size=None)
    module.train()  # Lightning leaves the mode as it finds it
    fit(module, epochs, device, loader)


@torch.no_grad()
def metrics(network: nn.Module, objective: Objective, rows: Rows) -> dict[str, float]:
    """Mean loss (float64) and what the objective tells of the network, in eval mode."""
    network.eval()
    outputs = network(rows.inputs).double()
    targets = rows.targets.double() if rows.targets.is_floating_point() else rows.targets
    return {"loss": float(objective.loss(outputs, targets).mean()), **objective.metrics(outputs, targets)}
