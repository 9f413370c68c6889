"""Weights of rows: how often each counts, written behind its targets, so that no loss can be taken without them."""

from __future__ import annotations

import torch
from torch import Tensor

from fimo.errors import UserError


def require_weights(name: str, weights: Tensor, rows: int) -> Tensor:
    """Weights as 64-bit real numbers.

    Args:
        name: what errors call them.
        weights: `[row]`, or `[row, 1]`.
        rows: how many there are.

    Returns:
        `[row]`.

    Raises:
        UserError: where they are not a finite number of at least 0 for each row, or are all 0.
    """
    expected = f"The third part, {name}, must be a number of at least 0 for each row, and not all 0"
    advice = "correct it, or, if it is no weight, give several inputs as ((a, b), targets)"
    if weights.shape not in ((rows,), (rows, 1)) or weights.is_complex():
        raise UserError(f"{expected}, found {list(weights.shape)} of {weights.dtype} for {rows} rows: {advice}.")
    weights = weights.flatten().to(torch.float64)
    wrong = ~(weights.isfinite() & (weights >= 0))
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise UserError(f"{expected}, found {float(weights[row]):g} in row {row}: {advice}.")
    if not bool(weights.any()):
        raise UserError(f"{expected}, found nothing but 0.")
    return weights


def by_row(numbers: Tensor, values: Tensor) -> Tensor:
    """A number for each row, in the form that multiplies values of rows.

    Args:
        numbers: `[row]`.
        values: `[row, …]`.

    Returns:
        `[row, 1, …]`, with as many axes as the values.
    """
    return numbers.reshape(-1, *[1] * (values.dim() - 1))


def packed(targets: Tensor, weights: Tensor) -> Tensor:
    """Each row's targets in one axis, and its weight behind them.

    Among whole numbers (classes, tokens) the weight stands by its 64 bits, so that neither loses a digit.

    Args:
        targets: `[row, …]`.
        weights: `[row]`.

    Returns:
        `[row, targets of a row + 1]`, of the targets' dtype.
    """
    column = weights.to(targets) if targets.is_floating_point() else weights.to(torch.float64).view(torch.int64)
    return torch.cat([targets.reshape(len(targets), -1), column.to(targets.device)[:, None]], 1)


def unpacked(both: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The inverse of `packed`, also of rows along several axes.

    Args:
        both: `[…, targets of a row + 1]`.
        shape: of one row's targets.

    Returns:
        Targets `[…, *shape]` and weights `[…]`.
    """
    weights = both[..., -1]
    weights = weights if both.is_floating_point() else weights.view(torch.float64)
    return both[..., :-1].reshape(*both.shape[:-1], *shape), weights
