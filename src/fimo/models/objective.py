"""Objectives: a loss per example. The mean over a batch is taken by whoever asks."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Objective(Protocol):
    """What a network is trained for."""

    @property
    def criterion(self) -> nn.Module:
        """Torch's module for the mean of the loss over a batch, for libraries that ask for one."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example, `[row]`, from outputs `[row, output]` and the targets of `Rows`."""
        ...

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """What is told of a model beside its mean loss."""
        ...

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The output function that TRAK linearises, `[row, scalar]`."""
        ...

    def curvature_rank(self, outputs: int) -> int:
        """Rank of the loss's Hessian in so many outputs."""
        ...


class SquaredError:
    """Squared error, ℓ = mean over outputs of (f − y)², without a factor ½ (as torch's `MSELoss`)."""

    criterion = nn.MSELoss()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example, `[row]`, from outputs and targets `[row, output]`."""
        return (outputs - targets).square().mean(-1)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of the targets' variance that is explained (R²)."""
        residual = (outputs - targets).square().sum()
        return {"r2": float(1 - residual / (targets - targets.mean(0)).square().sum())}

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The outputs themselves."""
        return outputs

    def curvature_rank(self, outputs: int) -> int:
        """Full."""
        return outputs


class CrossEntropy:
    """Cross-entropy of the softmax of the outputs, ℓ = −log softmax(f)[y]."""

    criterion = nn.CrossEntropyLoss()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example, `[row]`, from logits `[row, class]` and class numbers `[row]`."""
        return functional.cross_entropy(outputs, targets, reduction="none")

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of examples whose largest logit is that of their class."""
        return {"accuracy": float((outputs.argmax(-1) == targets).to(torch.float64).mean())}

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The margin log p_y − log(1 − p_y) of the class y, one scalar (TRAK, Park et al. 2023)."""
        own = torch.gather(outputs, -1, targets[..., None])
        numbers = torch.arange(outputs.shape[-1], device=outputs.device)
        others = outputs.masked_fill(numbers == targets[..., None], -torch.inf)
        return own - torch.logsumexp(others, -1, keepdim=True)

    def curvature_rank(self, outputs: int) -> int:
        """One less than there are classes: adding a constant to all logits changes nothing."""
        return outputs - 1


OBJECTIVES: dict[str, Objective] = {"regression": SquaredError(), "classification": CrossEntropy()}
