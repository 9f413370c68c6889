"""Losses of real numbers: squared, absolute and Huber's errors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fimo.errors import UserError
from fimo.models.objective import Objective, cholesky_root, require_number_for_each_output
from fimo.models.predictive import Gaussian


class Regression(Objective):
    """Losses of real numbers: outputs and targets are both `[row, output]`, in the same units."""

    real_targets = True

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

    def require_targets(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse targets that are not one real number for each output: they would be broadcast.

        Args:
            outputs: f, `[row, output]`.
            targets: y, of all rows.

        Raises:
            UserError: naming their form, and that of the outputs.
        """
        require_number_for_each_output(type(self).__name__, outputs, targets)


class SquaredError(Regression):
    """Squared error, without a factor ½ (as torch's `MSELoss`).

    ℓ = mean over outputs of (f − y)²
    """

    positive_hessian = True
    predictive = Gaussian()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of each example.

        Args:
            outputs: f, `[row, output]`.
            targets: y, `[row, output]`.

        Returns:
            ℓ, `[row]`, in squared units of the targets.
        """
        return (outputs - targets).square().mean(-1)

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂²ℓ/∂f² = 2/k I, of k outputs.

        Args:
            outputs: f, `[row, output]`.
            targets: y, `[row, output]`.

        Returns:
            `[row, output, output]`.
        """
        rows, count = outputs.shape
        return torch.eye(count, dtype=outputs.dtype, device=outputs.device).mul(2 / count).expand(rows, count, count)

    def curvature_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """R of the Hessian, whose rank is the number of outputs: the loss is curved in each of them.

        Args:
            outputs: f, `[row, output]`.
            targets: y, `[row, output]`.

        Returns:
            R, `[row, output, output]`.
        """
        return cholesky_root(self.hessian(outputs, targets), outputs.shape[-1])


class AbsoluteError(Regression):
    """Absolute error (as torch's `L1Loss`).

    ℓ = mean over outputs of |f − y|

    It has no curvature of its own: that of the methods is the empirical Fisher matrix.
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Absolute error of each example.

        Args:
            outputs: f, `[row, output]`.
            targets: y, `[row, output]`.

        Returns:
            ℓ, `[row]`, in units of the targets.
        """
        return (outputs - targets).abs().mean(-1)

    def curvature_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂f, the root of the empirical Fisher matrix.

        Args:
            outputs: f, `[row, output]`.
            targets: y, `[row, output]`.

        Returns:
            `[row, output, 1]`.
        """
        return self.fisher_root(outputs, targets)

    def curvature_note(self, outputs: Tensor, targets: Tensor) -> str:
        """That the curvature is not the loss's own.

        Args:
            outputs: they don't matter.
            targets: they don't matter.
        """
        return "the curvature is the empirical Fisher matrix: an absolute error has none"


class Huber(Regression):
    """Huber's error: squared near the target, absolute far away (as torch's `HuberLoss`).

    ℓ = mean over outputs of ½r² where |r| = |f − y| ≤ δ, of δ(|r| − ½δ) elsewhere

    Args:
        delta: δ, in units of the targets.

    Raises:
        UserError: for a δ that is not above 0.
    """

    positive_hessian = True

    def __init__(self, delta: float = 1.0) -> None:
        if not delta > 0:
            raise UserError(f"delta of Huber must be a number above 0, found {delta!r}.")
        self.delta = delta

    def __repr__(self) -> str:
        return f"Huber(delta={self.delta:.15g})"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Huber's error of each example.

        Args:
            outputs: f, `[row, output]`.
            targets: y, `[row, output]`.

        Returns:
            ℓ, `[row]`, in squared units of the targets.
        """
        return functional.huber_loss(outputs, targets, reduction="none", delta=self.delta).mean(-1)
