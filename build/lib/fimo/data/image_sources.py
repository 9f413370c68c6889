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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fimo.data.download import TIMEOUT_SECONDS
from fimo.errors import Unavailable, UserError, short

logger = logging.getLogger(__name__)

SUBSET = "cifar10/cifar10_subset.npz"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Images:
    """Both splits as they are stored.

    Attributes:
        train, test: `[row, height, width, channel]`, uint8.
        train_labels, test_labels: `[row]`, class numbers 0, 1, …
        white: the value of the brightest pixel that there can be.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    white: int = 255

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.train_labels.max()) + 1


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
        from sklearn.model_selection import train_test_split

        bunch = sklearn.datasets.load_digits()
        images = bunch.images.astype(np.uint8)[..., None]
        settings = {"test_size": self.test_size, "random_state": self.random_state}
        if not 0 < self.test_size < 1:
            raise UserError(f"data.source.test_size must be a share between 0 and 1, found {self.test_size!r}.")
        train, test = train_test_split(np.arange(len(images)), **settings)
        return Images(images[train], bunch.target[train], images[test], bunch.target[test], white=16)


@dataclass(frozen=True)
class Archive:
    """An .npz file with the arrays train_images, train_labels, test_images and test_labels.

    Attributes:
        file: path below the data folder.
        sha256: None; any content is accepted, and results on another content lie at another address.
    """

    file: str
    sha256: None = None

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
                arrays = {name: archive[name] for name in ARRAYS if name in names}
        # A single array is no context manager, and lists are only in what was pickled.
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as reason:
            raise UserError(
                f"{path} is not an .npz archive of plain arrays that can be read ({reason}): get it anew."
            ) from reason
        if missing := [name for name in ARRAYS if name not in arrays]:
            raise UserError(f"{path} lacks the arrays {missing}: expected {list(ARRAYS)}, found {names}.")
        _check(arrays, path)
        return Images(*(arrays[name] for name in ARRAYS))


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Shapes, types, lengths, and that labels are class numbers."""
    size = arrays["train_images"].shape[1:]
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if (
            images.dtype != np.uint8
            or images.ndim != 4
            or 0 in images.shape
            or images.shape[1:] != size
            or size[-1] > 4
        ):
            like = "" if split == "train" else f", each as large as a training image {list(size)}"
            raise UserError(
                f"{split}_images in {path} must be uint8 of shape [row, height, width, channel]{like}, found "
                f"{images.dtype} of shape {list(images.shape)}."
            )
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise UserError(
                f"{split}_labels in {path} must be a whole number for each of the {len(images)} images, found "
                f"{labels.dtype} of shape {list(labels.shape)}."
            )
    classes = np.unique(arrays["train_labels"])
    if len(classes) == 1:
        raise UserError(f"train_labels in {path} must have two or more classes, found {classes[0]} alone.")
    if not np.array_equal(classes, np.arange(len(classes))):
        raise UserError(
            f"train_labels in {path} must be class numbers 0, 1, … of which each occurs, found {len(classes)} "
            f"different ones from {classes[0]} to {classes[-1]}."
        )
    if outside := [int(label) for label in arrays["test_labels"] if not 0 <= label < len(classes)]:
        raise UserError(f"test_labels in {path} must be from 0 to {len(classes) - 1}, found {outside[0]}.")


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
        return Images(train.data, np.array(train.targets), test.data, np.array(test.targets))

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
