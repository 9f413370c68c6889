"""What the custom layers of further training share: sums and ReLUs in the memory of their operands, and `vmap`."""

from __future__ import annotations

from collections.abc import Sequence

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


def with_run_axis(tensors: Sequence[Tensor], axes: Sequence[int | None]) -> list[Tensor]:
    """Tensors as one layer for all runs takes them, in the rule of a layer for `vmap`.

    What all runs share has the axis too, so that the axes of several `vmap`s stand in one order.

    Args:
        tensors: of the layer.
        axes: where each of them has the axis of the runs; None where all runs share it.

    Returns:
        Each with the axis `run` in front, of size 1 where all runs share it.
    """
    return [
        tensor[None] if axis is None else tensor.movedim(axis, 0) for tensor, axis in zip(tensors, axes, strict=True)
    ]
