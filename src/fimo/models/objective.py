"""Objectives: a loss per example. The mean over a batch is taken by whoever asks."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Objective(Protocol):
    """What a network is trained for."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example, `[row]`, from outputs `[row, output]` and the targets of `Rows`."""
        ...

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """What is told of a model beside its mean loss."""
        ...


class SquaredError:
    """Squared error, ℓ = mean over outputs of (f − y)², without a factor ½ (as torch's `MSELoss`)."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example, `[row]`, from outputs and targets `[row, output]`."""
        return (outputs - targets).square().mean(-1)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of the targets' variance that is explained (R²)."""
        residual = (outputs - targets).square().sum()
        return {"r2": float(1 - residual / (targets - targets.mean(0)).square().sum())}


class CrossEntropy:
    """Cross-entropy of the softmax of the outputs, ℓ = −log softmax(f)[y]."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example, `[row]`, from logits `[row, class]` and class numbers `[row]`."""
        return functional.cross_entropy(outputs, targets, reduction="none")

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of examples whose largest logit is that of their class."""
        return {"accuracy": float((outputs.argmax(-1) == targets).to(torch.float64).mean())}


OBJECTIVES: dict[str, Objective] = {"regression": SquaredError(), "classification": CrossEntropy()}
