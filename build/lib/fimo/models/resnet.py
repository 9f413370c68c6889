"""ResNet-9."""

from __future__ import annotations

from torch import Tensor, nn

from fimo.errors import UserError


class ResNet9(nn.Module):
    """Eight 3 × 3 convolutions with batch normalisation and ReLU, and a linear layer.

    The widths are w, 2w, then a residual block of two, 4w, 8w, another residual block. Each convolution that widens,
    after the first, halves the image by a maximum over 2 × 2 pixels; the linear layer takes the maximum of the rest.

    Args:
        inputs: number of channels.
        outputs: number of classes.
        width: w, channels of the first convolution.

    Raises:
        UserError: for a width that is no whole number above 0.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        if type(width) is not int or width < 1:
            raise UserError(f"model.width must be a whole number of at least 1, found {width!r}.")
        self.body = nn.Sequential(
            convolution(inputs, width),
            convolution(width, 2 * width),
            nn.MaxPool2d(2),
            Residual(2 * width),
            convolution(2 * width, 4 * width),
            nn.MaxPool2d(2),
            convolution(4 * width, 8 * width),
            nn.MaxPool2d(2),
            Residual(8 * width),
        )
        self.head = nn.Linear(8 * width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `[row, class]` from images `[row, channel, height, width]` of at least 8 × 8 pixels.

        Raises:
            UserError: for smaller images.
        """
        if min(inputs.shape[-2:]) < 8:
            raise UserError(f"ResNet9 needs images of at least 8 × 8 pixels, found {list(inputs.shape[-2:])}.")
        return self.head(self.body(inputs).amax((-2, -1)))


class Residual(nn.Module):
    """x plus two convolutions of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        """The same shape as `inputs`, `[row, channel, height, width]`."""
        return inputs + self.block(inputs)


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """A 3 × 3 convolution that keeps the size, batch normalisation (its shift is the bias), ReLU.

    Args:
        inputs: channels of the images.
        outputs: channels of the result.

    Returns:
        The three layers.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
