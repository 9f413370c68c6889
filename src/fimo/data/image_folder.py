"""A folder of image files, with a subfolder for each class."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fimo.data.image_sources import Images, ImageSplit
from fimo.errors import UserError, short

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

TRAIN_FOLDER = "train"
# Names of the folder of test images beside it; the first that is there is taken.
TEST_FOLDERS = ("test", "val", "valid", "validation", "dev")
# Pillow's name for what each kind of image is converted to.
KINDS = {"grey": "L", "rgb": "RGB"}
# Pillow's names for images of a single channel of at most eight bits, and for those of more than eight.
GREY_MODES, DEEP_MODES = ("1", "L", "LA"), ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class ClassFolders:
    """The image files of one split.

    Attributes:
        root: the folder of the subfolders.
        classes: their names, sorted.
        files: every image file with the number of its class, sorted by class and name.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]

    @classmethod
    def at(cls, root: Path) -> ClassFolders:
        """The images below a folder, also in folders further below, by the endings that torchvision knows.

        Raises:
            UserError: where there are no two classes, or one of them has no image.
        """
        from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

        try:
            classes, numbers = find_classes(str(root))
            files = make_dataset(str(root), numbers, IMG_EXTENSIONS)
        except OSError as reason:
            raise UserError(
                f"{root} must be a folder with a subfolder of images for each class, found none ({short(reason)})."
            ) from reason
        return cls(root, tuple(classes), tuple((Path(path), number) for path, number in files))

    @property
    def names(self) -> list[str]:
        """Each image's path below the folder."""
        return [path.relative_to(self.root).as_posix() for path, _ in self.files]


@dataclass(frozen=True)
class ImageFolder:
    """Image files in a subfolder for each class, as for torchvision's `ImageFolder`.

    Where the folder has a folder `train` and a folder `test` (or `val`, `valid`, `validation`, `dev`), these are the
    splits, and each has the subfolders. Otherwise the images are one split, which is still to be split.

    Attributes:
        folder: path, absolute or below the data folder.
        size: height and width that all images are resized to (bilinear); None where they have one size.
        kind: `grey` or `rgb`; None for colour where some image has it.
    """

    folder: str
    size: Sequence[int] | None = None
    kind: str | None = None

    def content_digest(self, data_dir: Path) -> str:
        """SHA-256 of the names and contents of all files, which results depend on.

        Raises:
            UserError: where the folder has no images.
        """
        content = hashlib.sha256()
        for split in self._splits(data_dir):
            for (path, number), name in zip(split.files, split.names, strict=True):
                with path.open("rb") as file:
                    content.update(f"{name}\t{number}\t{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return content.hexdigest()

    def read(self, data_dir: Path) -> Images:
        """All images, of one size and one kind.

        Raises:
            UserError: where a folder has no classes, a file is no image, or sizes differ, naming the folder or file.
        """
        if self.kind not in (None, *KINDS):
            raise UserError(f"data.source.kind must be {' or '.join(KINDS)} or null, found {self.kind!r}.")
        if self.size is not None and (len(self.size) != 2 or any(type(s) is not int or s < 1 for s in self.size)):
            raise UserError(f"data.source.size must be height and width in pixels, as in [32,32], found {self.size}.")
        splits = self._splits(data_dir)
        classes = splits[0].classes
        if len(classes) < 2:
            raise UserError(
                f"{splits[0].root} must have a subfolder for each of two or more classes, found {classes[0]!r} only."
            )
        kind = self.kind or _common_kind([path for split in splits for path, _ in split.files])
        pixels = self._pixels([path for split in splits for path, _ in split.files], KINDS[kind])
        labels = np.array([classes.index(split.classes[number]) for split in splits for _, number in split.files])
        names = [name for split in splits for name in split.names]
        every = ImageSplit(pixels, labels, names)
        if len(splits) == 1:
            return Images(every, None, classes)
        train, test = np.split(np.arange(len(labels)), [len(splits[0].files)])
        return Images(every.at(train), every.at(test), classes)

    def _splits(self, data_dir: Path) -> list[ClassFolders]:
        """The images as they are, or the training split and the test split."""
        root = data_dir / self.folder
        given = next((name for name in TEST_FOLDERS if (root / name).is_dir()), None)
        if given is None or not (root / TRAIN_FOLDER).is_dir():
            return [ClassFolders.at(root)]
        splits = [ClassFolders.at(root / name) for name in (TRAIN_FOLDER, given)]
        if unknown := sorted(set(splits[1].classes) - set(splits[0].classes)):
            raise UserError(
                f"{splits[1].root} has the class {unknown[0]!r}, which {splits[0].root} lacks: add training images of "
                "it, or remove it."
            )
        logger.info("images: %d of %s are the training split, %d of %s the test split",
                    len(splits[0].files), splits[0].root, len(splits[1].files), splits[1].root)  # fmt: skip
        return splits

    def _pixels(self, paths: Sequence[Path], mode: str) -> np.ndarray:
        """The images `[row, height, width, channel]`, uint8."""
        from PIL import Image

        first, pixels = None, []
        for path in paths:
            with _opened(path) as stored:
                image = stored.convert(mode)
            if self.size is not None:
                image = image.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
            first = first or (path, image.size)
            if image.size != first[1]:
                raise UserError(
                    f"Images must have one size, found {first[1][1]} × {first[1][0]} pixels in {first[0]} and "
                    f"{image.height} × {image.width} in {path}: add 'data.source.size=[{first[1][1]},{first[1][0]}]', "
                    "height and width that all are resized to."
                )
            array = np.asarray(image)
            pixels.append(array if array.ndim == 3 else array[..., None])
        return np.stack(pixels)


def _common_kind(paths: Sequence[Path]) -> str:
    """Colour where some image has it, said where others have none."""
    grey = []
    for path in paths:
        with _opened(path) as image:
            grey.append(image.mode in GREY_MODES)
    if any(grey) and not all(grey):
        logger.info(
            "images: %d of %d are grey; all are read with three channels (data.source.kind)", sum(grey), len(grey)
        )
    return "grey" if all(grey) else "rgb"


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """An image of at most eight bits a channel, of which the header is read; its pixels are when they are needed."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode in DEEP_MODES:
                raise UserError(
                    f"{path} must have at most eight bits a channel, found Pillow's mode {image.mode!r}: save the "
                    "images with eight, or give arrays in an .npz file (data=cifar10_subset)."
                )
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise UserError(f"{path} is not an image that can be read ({short(reason)}): mend or remove it.") from reason
