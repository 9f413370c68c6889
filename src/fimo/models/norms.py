"""Normalisations that torch has not in the form that models have them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RootMeanSquareNorm(nn.Module):
    """x / √(mean x² + ε) · (w + offset), the mean over the last axis.

    Args:
        weight: w, `[width]`.
        eps: ε.
        offset: 0, or 1 for norms (Gemma's) that hold the difference from 1.
    """

    def __init__(self, weight: nn.Parameter, eps: float, offset: float) -> None:
        super().__init__()
        self.weight, self.eps, self.offset = weight, eps, offset

    def normalised(self, inputs: Tensor) -> Tensor:
        """The inputs before they are scaled.

        Args:
            inputs: x, `[…, width]`.

        Returns:
            `[…, width]`.
        """
        return inputs * torch.rsqrt(inputs.square().mean(-1, keepdim=True) + self.eps)

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, normalised and scaled.

        Args:
            inputs: x, `[…, width]`.

        Returns:
            `[…, width]`.
        """
        return self.normalised(inputs) * (self.weight + self.offset)
