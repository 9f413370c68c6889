"""Sums with biases and ReLUs in the memory of what they are taken of, in the custom layers of further training."""

from __future__ import annotations

import torch
from torch import Tensor


def activated_(product: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """A layer's outputs, in the memory of its product.

    Args:
        product: X Wᵀ, `[…, row, output]`, which nobody else has.
        bias: `[…, output]`.
        relu: whether negative numbers become 0.

    Returns:
        The product itself.
    """
    product += bias.unsqueeze(-2)
    return product.relu_() if relu else product


def masked_(gradient: Tensor, outputs: Tensor | None) -> Tensor:
    """The gradient at a ReLU's inputs, in the memory of that at its outputs.

    Args:
        gradient: at the outputs, `[…, row, output]`, which nobody else has.
        outputs: of the ReLU; None where there is none.

    Returns:
        The gradient itself.
    """
    if outputs is None:
        return gradient
    return torch.ops.aten.threshold_backward.grad_input(gradient, outputs, 0, grad_input=gradient)
