"""Images changed at random in the training of the final model, never in further training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fimo.errors import UserError


@dataclass(frozen=True)
class FlipAndCrop:
    """Each image mirrored with probability ½, padded, and cropped at random to its size.

    The padding is zero, which is the mean colour of normalised images. Draws come from torch's global generator, the
    images' device's.

    Attributes:
        padding: pixels on each side; the crop moves the image by up to so many.

    Raises:
        UserError: for a padding that is no whole number of at least 0.
    """

    padding: int = 4

    def __post_init__(self) -> None:
        if type(self.padding) is not int or self.padding < 0:
            raise UserError(f"final.augment.padding must be a whole number of at least 0, found {self.padding!r}.")

    def __call__(self, inputs: Tensor) -> Tensor:
        """Images `[row, channel, height, width]`, changed independently of each other."""
        rows, _, height, width = inputs.shape
        flip = torch.rand(rows, device=inputs.device) < 0.5
        flipped = torch.where(flip[:, None, None, None], inputs.flip(-1), inputs)
        padded = functional.pad(flipped, (self.padding,) * 4)
        top, left = torch.randint(2 * self.padding + 1, (2, rows, 1), device=inputs.device)
        y = top + torch.arange(height, device=inputs.device)
        x = left + torch.arange(width, device=inputs.device)
        row = torch.arange(rows, device=inputs.device)
        # Advanced indices around a slice: the channels come last.
        return padded[row[:, None, None], :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
