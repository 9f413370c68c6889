"""Image data: images of some classes, normalised channel by channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from fimo.data.base import Choice, Data, DataInfo, RowNames
from fimo.data.classes import require_known_classes
from fimo.data.descriptions import PictureDescriptions
from fimo.data.image_sources import Images, ImageSplit
from fimo.data.splits import random_split, require_no_draw
from fimo.errors import UserError
from fimo.rows import Rows

# Images whose values are counted at a time.
BLOCK = 4096


class ImageSource(Protocol):
    """Where images come from."""

    def read(self, data_dir: Path) -> Images:
        """The images, in both splits or in one."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImageData(Choice):
    """Images of some classes, normalised with the channels' statistics over the entire training split.

    Attributes:
        name: of the folder that results on these data go to.
        batch_size: of further training.
        source: where the images come from.
        data_dir: folder of downloaded files.
        task: `classification`.
        test_size: share of the images that are test examples, for a source without a split of its own.
        random_state: of scikit-learn's `train_test_split`.
        stratify: give both splits each class in the same share.
        standardise: bring each channel to mean 0 and deviation 1; false leaves bytes as numbers from 0 to 1, others as
            they are.
    """

    name: str
    batch_size: int
    source: ImageSource
    data_dir: str
    task: str = "classification"
    test_size: float = 0.2
    random_state: int = 0
    stratify: bool = False
    standardise: bool = True

    def load(self) -> Data:
        """Read the images, choose rows and normalise them. A row's position is that in the source's split.

        Raises:
            UserError: where the source can't be read, or the splits have no such rows.
        """
        if self.task != "classification":
            raise UserError(f"data.task must be classification for images, found {self.task!r}.")
        images = self.source.read(Path(self.data_dir))
        train, test = self._splits(images)
        mean, deviation = statistics(train.images) if self.standardise else (0.0, _unit(train.images))

        def normalised(rows: Rows) -> Rows:
            assert isinstance(rows.inputs, torch.Tensor)
            channels_first = rows.inputs.permute(0, 3, 1, 2).float().contiguous()
            return replace(rows, inputs=channels_first.sub_(mean).div_(deviation))

        def display(split: str, row: int, label: str | None = None) -> np.ndarray:
            image = {"train": train, "test": test}[split].images[row]
            return np.round((image - images.black) * (255 / (images.white - images.black))).astype(np.uint8)

        classes = images.classes or tuple(map(str, range(int(train.labels.max()) + 1)))
        info = DataInfo(
            inputs=train.images.shape[-1],
            outputs=len(classes),
            display=display,
            names=RowNames(train.names, test.names),
            classes=classes,
            columns={"label": np.array(images.classes)[train.labels] if images.classes else train.labels},
            describe=PictureDescriptions(display, {"train": train.labels, "test": test.labels}, classes),
        )
        chosen = self.of(_rows(train), _rows(test), info)
        test_all = normalised(chosen.test_all)
        return replace(chosen, train=normalised(chosen.train), test=test_all.keep(chosen.test.index), test_all=test_all)

    def _splits(self, images: Images) -> tuple[ImageSplit, ImageSplit]:
        if images.test is not None:
            require_no_draw(self)
            return images.train, images.test
        labels = images.train.labels
        classes = labels if self.stratify else None
        train, test = random_split(len(labels), self.test_size, self.random_state, classes)
        require_known_classes(labels, train, images.classes or (), "The images")
        return images.train.at(train), images.train.at(test)


def statistics(images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, `[channel, 1, 1]`; of bytes from how often each value occurs.

    Counting keeps the memory small and the sums exact. A channel that is the same everywhere gets deviation 1.

    Args:
        images: `[row, height, width, channel]`, uint8 or float32.

    Returns:
        Means and standard deviations in units of a pixel's value, float32.
    """
    moments = [_byte_moments(c) if images.dtype == np.uint8 else (c.mean(dtype="f8"), c.std(dtype="f8"))
               for c in np.moveaxis(images, -1, 0)]  # fmt: skip
    moments = [(mean, deviation or 1.0) for mean, deviation in moments]
    mean, deviation = torch.tensor(np.array(moments), dtype=torch.float32).T[..., None, None]
    return mean, deviation


def _byte_moments(channel: np.ndarray) -> tuple[float, float]:
    values = np.arange(256)
    parts = np.array_split(channel, -(-len(channel) // BLOCK))
    share = sum(np.bincount(part.ravel(), minlength=256) for part in parts) / channel.size
    mean = share @ values
    return float(mean), float(np.sqrt(share @ (values - mean) ** 2))


def _unit(images: np.ndarray) -> float:
    """What a brightest pixel is divided by where images are not standardised."""
    return 255.0 if images.dtype == np.uint8 else 1.0


def _rows(split: ImageSplit) -> Rows:
    return Rows(torch.from_numpy(split.images), torch.from_numpy(split.labels).long(), torch.arange(len(split.labels)))
