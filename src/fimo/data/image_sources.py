"""Sources of images: torchvision, an archive of NumPy arrays, scikit-learn."""

from __future__ import annotations

import http.client
import logging
import os
import socket
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fimo.data.classes import class_numbers, require_known_classes
from fimo.data.download import TIMEOUT_SECONDS
from fimo.data.image_arrays import class_names, image_array, label_array
from fimo.data.splits import random_split
from fimo.errors import Unavailable, UserError, short

logger = logging.getLogger(__name__)

SUBSET = "cifar10/cifar10_subset.npz"
SPLITS = ("train", "test")
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
# Names of the classes in their order, which an archive may have; a part of CIFAR-10 without them has these.
NAMES = "class_names"
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class ImageSplit:
    """Images of one split as they are stored.

    Attributes:
        images: `[row, height, width, channel]`, uint8 or float32.
        labels: `[row]`, class numbers 0, 1, …
        names: what people call each image, as `cat/001.png`; None where the position says it all.
    """

    images: np.ndarray
    labels: np.ndarray
    names: list[str] | None = None

    def at(self, index: np.ndarray) -> ImageSplit:
        """The images at `index`."""
        names = None if self.names is None else [self.names[row] for row in index]
        return ImageSplit(self.images[index], self.labels[index], names)


@dataclass(frozen=True)
class Images:
    """Images in two splits, or in one that is still to be split.

    Attributes:
        train: the training split, or all images where there is one split only.
        test: the test split, or None: rows are drawn from `train` then.
        classes: names of the classes, by number; None where they are their numbers.
        black, white: the values of the darkest and of the brightest pixel that there can be.
    """

    train: ImageSplit
    test: ImageSplit | None = None
    classes: tuple[str, ...] | None = None
    black: float = 0
    white: float = 255


@dataclass(frozen=True)
class Digits:
    """The 1797 handwritten digits inside scikit-learn, 8 × 8 pixels of 0 to 16, split at random.

    Attributes:
        test_size: share of the images that are test examples.
        random_state: of scikit-learn's `train_test_split`.
    """

    test_size: float = 0.2
    random_state: int = 0

    def read(self, data_dir: Path) -> Images:
        """Both splits; `data_dir` is not needed.

        Raises:
            UserError: where `test_size` is no share.
        """
        import sklearn.datasets

        bunch = sklearn.datasets.load_digits()
        images = bunch.images.astype(np.uint8)[..., None]
        if not 0 < self.test_size < 1:
            raise UserError(f"data.source.test_size must be a share between 0 and 1, found {self.test_size!r}.")
        names = [f"image {row}" for row in range(len(images))]
        every = ImageSplit(images, bunch.target, names)
        train, test = random_split(len(images), self.test_size, self.random_state)
        return Images(every.at(train), every.at(test), white=16)


@dataclass(frozen=True)
class Archive:
    """An .npz file with the arrays train_images, train_labels, test_images and test_labels, perhaps class_names.

    Attributes:
        file: path below the data folder.
        sha256: None; any content is accepted, and results on another content lie at another address.
        layout: of the images, see `fimo.data.image_arrays`; None where their shape tells it.
    """

    file: str
    sha256: None = None
    layout: str | None = None

    def read(self, data_dir: Path) -> Images:
        """Both splits, every array of them checked.

        Raises:
            UserError: where an array is missing or isn't what it has to be; `Unavailable` where the file is missing.
        """
        path = data_dir / self.file
        if not path.is_file():
            raise Unavailable(
                f"{path} is not there: put an .npz file with the arrays {', '.join(ARRAYS)} there, or name the folder "
                "that has it by paths.data_dir or FIMO_DATA_DIR."
            )
        try:
            with np.load(path, allow_pickle=False) as archive:
                names = list(archive)
                arrays = {name: archive[name] for name in (*ARRAYS, NAMES) if name in names}
        # A single array is no context manager, and lists are only in what was pickled.
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as reason:
            raise UserError(
                f"{path} is not an .npz archive of plain arrays that can be read ({short(reason)}): get it anew."
            ) from reason
        if missing := [name for name in ARRAYS if name not in arrays]:
            raise UserError(f"{path} lacks the arrays {missing}: expected {list(ARRAYS)}, found {names}.")
        images = _checked(arrays, path, self.layout)
        is_cifar10 = (
            self.file == SUBSET and images.classes is None and 1 + images.train.labels.max() == len(CIFAR10_NAMES)
        )
        return replace(images, classes=CIFAR10_NAMES) if is_cifar10 else images


def _checked(arrays: dict[str, np.ndarray], path: Path, layout: str | None) -> Images:
    """Both splits, of one form, with the classes of both."""
    train, test = (image_array(arrays[f"{split}_images"], f"{split}_images in {path}", layout) for split in SPLITS)
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise UserError(
            f"test_images in {path} must be each as a training image, {list(train.shape[1:])} of {train.dtype}, found "
            f"{list(test.shape[1:])} of {test.dtype}."
        )
    sizes = dict(zip(SPLITS, (len(train), len(test)), strict=True))
    labels = [
        label_array(arrays[f"{split}_labels"], rows, f"{split}_labels in {path}") for split, rows in sizes.items()
    ]
    what = f"The labels in {path}"
    numbers, classes = class_numbers(np.concatenate(labels), what)
    require_known_classes(numbers, np.arange(len(train)), classes, what)
    black, white = (0, 255) if train.dtype == np.uint8 else (float(train.min()), float(train.max()))
    splits = ImageSplit(train, numbers[: len(train)]), ImageSplit(test, numbers[len(train) :])
    return Images(*splits, class_names(arrays.get(NAMES), classes, f"{NAMES} in {path}"), black, white)


@dataclass(frozen=True)
class CIFAR10:
    """CIFAR-10 as its provider has it, 50,000 and 10,000 images, fetched and checked (MD5) by torchvision.

    Attributes:
        folder: path below the data folder.
        url: of the archive at the provider.
        page: where a person can get it.
    """

    folder: str
    url: str
    page: str

    def read(self, data_dir: Path) -> Images:
        """Both splits.

        Raises:
            UserError: where they are not as published; `Unavailable` where they are missing and can't be downloaded.
        """
        from torchvision import datasets

        folder = data_dir / self.folder
        unpacked = folder / datasets.CIFAR10.base_folder
        if not unpacked.exists():
            self._fetch(folder, data_dir)
        try:
            train, test = (datasets.CIFAR10(folder, train=train) for train in (True, False))
        except RuntimeError as reason:
            raise UserError(
                f"{unpacked} is not CIFAR-10 as published (a file is missing or has another MD5 sum): remove it, then "
                "it is fetched anew."
            ) from reason
        first, second = (ImageSplit(part.data, np.array(part.targets)) for part in (train, test))
        return Images(first, second, tuple(train.classes))

    def _fetch(self, folder: Path, data_dir: Path) -> None:
        """Unpack the archive, downloaded where it is missing, and give the result its name when it is complete."""
        from torchvision import datasets
        from torchvision.datasets.utils import check_integrity, extract_archive

        archive = folder / datasets.CIFAR10.filename
        if archive.is_file() and not check_integrity(archive, datasets.CIFAR10.tgz_md5):
            raise UserError(
                f"{archive} is truncated or not CIFAR-10 as published (another MD5 sum): remove it, then it is "
                f"fetched anew, or get it from {self.page}."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
                if archive.is_file():
                    extract_archive(archive, temporary)
                else:
                    self._download(temporary)
                os.replace(Path(temporary) / datasets.CIFAR10.base_folder, folder / datasets.CIFAR10.base_folder)
        except (OSError, http.client.HTTPException, RuntimeError) as reason:
            why = short(reason)
            if isinstance(reason, RuntimeError):  # torchvision's message is then only "not found or corrupted"
                why = "what arrived is truncated or another file, by its MD5 sum"
            subset = ", or choose data=cifar10_subset, which is there" if (data_dir / SUBSET).is_file() else ""
            raise Unavailable(
                f"CIFAR-10 is not in {folder} and could not be had from {self.url} ({why}): get {archive.name} from "
                f"{self.page} and put it there, or name the folder that has it by paths.data_dir or "
                f"FIMO_DATA_DIR{subset}."
            ) from reason

    def _download(self, folder: str) -> None:
        from torchvision import datasets

        logger.info("CIFAR-10 is not there: downloading %s", self.url)
        from_url = type("CIFAR10", (datasets.CIFAR10,), {"url": self.url})
        with _socket_timeout(TIMEOUT_SECONDS):  # torchvision would wait for ever
            from_url(folder, download=True)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
