"""Image data: images of some classes, normalised channel by channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from fimo.data.base import Choice, Data
from fimo.data.image_sources import Images
from fimo.data.left_out import LeftOut
from fimo.errors import UserError
from fimo.rows import Rows

# Images whose values are counted at a time.
BLOCK = 4096


class ImageSource(Protocol):
    """Where images come from."""

    def read(self, data_dir: Path) -> Images:
        """Both splits."""
        ...


@dataclass(frozen=True)
class ImageData:
    """Images of some classes, normalised with the channels' statistics over the entire training split.

    Attributes:
        name: of the folder that results on these data go to.
        batch_size: of further training.
        source: where the images come from.
        data_dir: folder of downloaded files.
        left_out, left_out_first, train_rows, test_count: see `Choice`.
        task: `classification`.
    """

    name: str
    batch_size: int
    source: ImageSource
    data_dir: str
    left_out: LeftOut
    left_out_first: int | None = None
    train_rows: int | None = None
    test_count: int | None = None
    task: str = "classification"

    def load(self) -> Data:
        """Read the images, choose rows and normalise them. A row's position is that in the source's split.

        Raises:
            UserError: where the source can't be read, or the splits have no such rows.
        """
        if self.task != "classification":
            raise UserError(f"data.task must be classification for images, found {self.task!r}.")
        images = self.source.read(Path(self.data_dir))
        mean, deviation = statistics(images.train)

        def normalised(rows: Rows) -> Rows:
            assert isinstance(rows.inputs, torch.Tensor)
            channels_first = rows.inputs.permute(0, 3, 1, 2).float().contiguous()
            return replace(rows, inputs=channels_first.sub_(mean).div_(deviation))

        def display(split: str, row: int) -> np.ndarray:
            image = (images.train if split == "train" else images.test)[row]
            return np.round(image * (255 / images.white)).astype(np.uint8)

        choice = Choice(self.left_out, self.left_out_first, self.train_rows, self.test_count)
        train = _rows(images.train, images.train_labels)
        test = _rows(images.test, images.test_labels)
        columns = {"label": images.train_labels}
        chosen = choice.of(train, test, images.train.shape[-1], images.classes, display, columns)
        test_all = normalised(chosen.test_all)
        return replace(
            chosen, train=normalised(chosen.train), test=test_all.keep(slice(0, len(chosen.test))), test_all=test_all
        )


def statistics(images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, `[channel, 1, 1]`, from how often each value occurs.

    Counting keeps the memory small and the sums exact. A channel that is the same everywhere gets deviation 1.

    Args:
        images: `[row, height, width, channel]`, uint8.

    Returns:
        Means and standard deviations in units of a pixel's value, float32.
    """
    values, moments = np.arange(256), []
    for channel in np.moveaxis(images, -1, 0):
        parts = np.array_split(channel, -(-len(channel) // BLOCK))
        share = sum(np.bincount(part.ravel(), minlength=256) for part in parts) / channel.size
        mean = share @ values
        moments.append((mean, np.sqrt(share @ (values - mean) ** 2) or 1.0))
    mean, deviation = torch.tensor(np.array(moments), dtype=torch.float32).T[..., None, None]
    return mean, deviation


def _rows(images: np.ndarray, labels: np.ndarray) -> Rows:
    return Rows(torch.from_numpy(images), torch.from_numpy(labels).long(), torch.arange(len(images)))
