"""Gradients of convolutions in factors: linear layers that are applied to a patch for each output pixel.

The gradient of one example is Σ over output pixels δ aᵀ, a the patch of the input that the pixel is computed from and
δ the loss gradient at all channels of the pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn
from torch.nn import functional

from fimo.gradients.layers import parameter_names
from fimo.gradients.segments import Segment
from fimo.gradients.sequences import SequenceGradients


@dataclass(frozen=True)
class Conv2dGradients(SequenceGradients):
    """A convolution: places are output pixels, a is a patch `[channel · kernel height · kernel width]`."""

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """Two-dimensional convolutions that are padded with zeros and have no groups."""
        return type(module) is nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros"

    @staticmethod
    def for_each_row(inputs: Tensor, outputs: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Both as they are: several images of a row are no places of one.

        Args:
            inputs: of a call.
            outputs: of that call.
            rows: number of rows that the network is called with.
        """
        return inputs, outputs

    @staticmethod
    def takes(inputs: Tensor) -> bool:
        """Images, one for each row.

        Args:
            inputs: of a call, `[row, channel, height, width]`.
        """
        return inputs.dim() == 4

    @staticmethod
    def is_cheaper(module: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> bool:
        """Where the factors take fewer operations to multiply than the weight has; they are smaller all the more.

        Args:
            module: the convolution.
            inputs: of a call, `[row, channel, height, width]`.
            outputs: of that call, `[row, channel, height, width]`.

        Returns:
            Whether p² (fan-in + fan-out) < fan-in · fan-out for p output pixels: many channels, small images.
        """
        pixels, fan_out, size = outputs[0, 0].numel(), module.out_channels, module.weight.numel()
        return pixels**2 * (size // fan_out + fan_out) < size

    @staticmethod
    def extra_bytes(module: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> int:
        """A row's patches, which overlap.

        Args:
            module: the convolution.
            inputs: of a call, `[row, channel, height, width]`.
            outputs: of that call, `[row, channel, height, width]`.

        Returns:
            Bytes.
        """
        return outputs[0, 0].numel() * module.weight[0].numel() * inputs.element_size()

    @classmethod
    def of(cls, name: str, module: nn.Conv2d, inputs: Tensor, deltas: Tensor) -> Self:
        """All pixels are places.

        Args:
            name: of the module.
            module: the convolution.
            inputs: images, `[row, channel, height, width]`.
            deltas: δ, the gradients at its outputs, `[row, channel, height, width]`.

        Returns:
            A gradient for each row.
        """
        segment = Segment(patches(module, inputs).mT.contiguous(), deltas.flatten(2).mT.contiguous())
        return cls(*parameter_names(name, module), (segment,), module.weight[0].numel())


def patches(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    """The patches of the input that the output pixels are computed from.

    Args:
        module: the convolution.
        inputs: images, `[row, channel, height, width]`.

    Returns:
        `[row, channel · kernel height · kernel width, pixel]`.
    """
    padded = functional.pad(inputs, _padding(module))
    rows, channels, *sizes = padded.shape
    kernel, dilation, step = module.kernel_size, module.dilation, module.stride
    axes = zip(sizes, kernel, dilation, step, strict=True)
    pixels = [(size - space * (width - 1) - 1) // shift + 1 for size, width, space, shift in axes]
    # Copied out of overlapping views, a third of the time that torch's `unfold` takes on a CPU.
    of_row, of_channel, *of_pixel = padded.stride()
    within = [stride * space for stride, space in zip(of_pixel, dilation, strict=True)]
    between = [stride * shift for stride, shift in zip(of_pixel, step, strict=True)]
    views = padded.as_strided((rows, channels, *kernel, *pixels), (of_row, of_channel, *within, *between))
    return views.reshape(rows, channels * math.prod(kernel), math.prod(pixels))


def _padding(module: nn.Conv2d) -> tuple[int, ...]:
    """Zeros at the left, right, top and bottom of the image; of an odd number, "same" puts one more at the end."""
    if module.padding == "valid":
        return 0, 0, 0, 0
    if module.padding == "same":
        totals = [space * (size - 1) for space, size in zip(module.dilation, module.kernel_size, strict=True)]
        return tuple(side for total in reversed(totals) for side in (total // 2, total - total // 2))
    assert isinstance(module.padding, tuple)
    return tuple(side for side in reversed(module.padding) for _ in range(2))
