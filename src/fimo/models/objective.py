"""Objectives: a loss per example, which training lowers. The mean over a batch is taken by the caller."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from fimo.errors import UserError


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

    def require_targets(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse targets that the loss would take for others, or not at all.

        Args:
            outputs: of the network at some rows, `[row, output]`.
            targets: those of `Rows`, of all rows.

        Raises:
            UserError: naming their form, and that of the outputs.
        """
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

    def require_targets(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse targets that are not one real number for each output: they would be broadcast.

        Args:
            outputs: f, `[row, output]`.
            targets: y, of all rows.

        Raises:
            UserError: naming their form, and that of the outputs.
        """
        if not targets.is_floating_point() or targets.shape[1:] != outputs.shape[1:]:
            raise UserError(
                f"Targets of a squared error must be real numbers [row, {outputs.shape[1]}] like the outputs, found "
                f"{list(targets.shape)} of {targets.dtype}."
            )


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

    def require_targets(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse targets that are not numbers of the network's classes.

        Args:
            outputs: f, logits `[row, class]`.
            targets: y, of all rows.

        Raises:
            UserError: naming their form, and the number of classes.
        """
        classes = outputs.shape[1]
        if targets.is_floating_point() or targets.dim() != 1:
            raise UserError(
                f"Targets of a cross-entropy must be class numbers [row], found {list(targets.shape)} of "
                f"{targets.dtype}: take targets.long() for classes, or the squared error for real numbers."
            )
        if classes == 1:
            raise UserError(
                "A cross-entropy needs an output for each class, found 1 output: let the network give two, or the one "
                "beside a zero, torch.cat([torch.zeros_like(logit), logit], 1)."
            )
        least, most = int(targets.min()), int(targets.max())
        if least < 0 or most >= classes:
            raise UserError(
                f"Targets of a cross-entropy must be class numbers from 0 to {classes - 1}, as the network has "
                f"{classes} outputs, found {least if least < 0 else most}."
            )


OBJECTIVES: dict[str, Objective] = {"regression": SquaredError(), "classification": CrossEntropy()}
