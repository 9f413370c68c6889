"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fimo.errors import UserError


class SmallConvolutional(nn.Module):
    """3 × 3 convolutions, each with ReLU and a maximum over 2 × 2 pixels, the mean over what is left, a linear layer.

    Args:
        inputs: number of channels.
        outputs: number of classes.
        channels: of each convolution.

    Raises:
        UserError: for a number of channels that is no whole number above 0, or none at all.
    """

    def __init__(self, inputs: int, outputs: int, channels: Sequence[int] = (8, 16)) -> None:
        super().__init__()
        if not channels or any(type(width) is not int or width < 1 for width in channels):
            raise UserError(f"model.channels must list whole numbers of at least 1, found {list(channels)}.")
        layers: list[nn.Module] = []
        for before, after in zip((inputs, *channels), channels, strict=False):
            layers += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels[-1], outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `[row, class]` from images `[row, channel, height, width]`."""
        return self.head(self.body(inputs).mean((-2, -1)))
