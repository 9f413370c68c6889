"""Objectives: a loss per example, which training lowers. The mean over a batch is taken by the caller."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Objective(Protocol):
    """The loss that a network is trained for, with what the methods have to know of it."""

    @property
    def criterion(self) -> nn.Module:
        """Torch's module for the mean of the loss over a batch, for libraries that ask for one."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example.

        Args:
            outputs: of the network, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            `[row]`, in the dtype of the outputs.
        """
        ...

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Measures of a model's quality beside its mean loss.

        Args:
            outputs: of the network, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            Each measure by its name, over all rows.
        """
        ...

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The output function that TRAK linearises.

        Args:
            outputs: of the network, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            `[row, scalar]`.
        """
        ...

    def curvature_rank(self, outputs: int) -> int:
        """Rank of the loss's Hessian in so many outputs."""
        ...


class SquaredError:
    """Squared error for regression, without a factor ½ (as torch's `MSELoss`).

        ℓ = mean over outputs of (f − y)²

    Outputs and targets are real numbers `[row, output]`.
    """

    criterion = nn.MSELoss()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of each example.

        Args:
            outputs: f, `[row, output]`.
            targets: y, `[row, output]`, in the same units.

        Returns:
            ℓ, `[row]`, in squared units of the targets.
        """
        return (outputs - targets).square().mean(-1)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of the targets' variance that is explained (R²).

        Args:
            outputs: f, `[row, output]`.
            targets: y, `[row, output]`.

        Returns:
            `r2`: 1 for perfect outputs, 0 for the targets' mean.
        """
        residual = (outputs - targets).square().sum()
        return {"r2": float(1 - residual / (targets - targets.mean(0)).square().sum())}

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The outputs themselves.

        Args:
            outputs: f, `[row, output]`.
            targets: they don't matter.

        Returns:
            f, `[row, output]`.
        """
        return outputs

    def curvature_rank(self, outputs: int) -> int:
        """The number of outputs: the loss is curved in each of them."""
        return outputs


class CrossEntropy:
    """Cross-entropy of the softmax of the outputs, for classification.

        ℓ = −log softmax(f)[y]

    Outputs are logits `[row, class]`, targets are class numbers `[row]`.
    """

    criterion = nn.CrossEntropyLoss()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each example.

        Args:
            outputs: f, logits `[row, class]`.
            targets: y, class numbers `[row]`.

        Returns:
            ℓ, `[row]`, in nats.
        """
        return functional.cross_entropy(outputs, targets, reduction="none")

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of examples whose largest logit is that of their class.

        Args:
            outputs: f, logits `[row, class]`.
            targets: y, class numbers `[row]`.

        Returns:
            `accuracy`, between 0 and 1.
        """
        return {"accuracy": float((outputs.argmax(-1) == targets).to(torch.float64).mean())}

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The margin log p_y − log(1 − p_y) of the class y (TRAK: Park et al. 2023, arXiv 2303.14186).

        Args:
            outputs: f, logits `[row, class]`; p is their softmax.
            targets: y, class numbers `[row]`.

        Returns:
            The margin, `[row, 1]`.
        """
        own = torch.gather(outputs, -1, targets[..., None])
        numbers = torch.arange(outputs.shape[-1], device=outputs.device)
        others = outputs.masked_fill(numbers == targets[..., None], -torch.inf)
        return own - torch.logsumexp(others, -1, keepdim=True)

    def curvature_rank(self, outputs: int) -> int:
        """One less than the number of classes: adding a constant to all logits changes nothing."""
        return outputs - 1


OBJECTIVES: dict[str, Objective] = {"regression": SquaredError(), "classification": CrossEntropy()}
