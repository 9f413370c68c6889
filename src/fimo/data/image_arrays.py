"""Arrays of images and labels as people have them: channels first or last, grey, floats, labels one-hot or in words."""

from __future__ import annotations

import logging

import numpy as np

from fimo.errors import UserError

logger = logging.getLogger(__name__)

LAYOUTS = ("channels_last", "channels_first")
# An axis of channels is at most so long: grey, grey and alpha, colour, colour and alpha.
CHANNELS = 4


def image_array(images: np.ndarray, what: str, layout: str | None = None) -> np.ndarray:
    """Images as `[row, height, width, channel]`, bytes where they can be.

    Args:
        images: `[row, height, width]` for grey ones, `[row, height, width, channel]` or
            `[row, channel, height, width]`, of whole numbers or floats.
        what: these are, for errors.
        layout: `channels_last` or `channels_first`; None where the shape tells it.

    Returns:
        uint8 where all values are whole numbers from 0 to 255, or 255ths from 0 to 1, else float32.

    Raises:
        UserError: for another shape, one that may be both layouts, and for what are no finite numbers.
    """
    if layout not in (None, *LAYOUTS):
        raise UserError(f"data.source.layout must be {' or '.join(LAYOUTS)} or null, found {layout!r}.")
    if images.ndim not in (3, 4) or 0 in images.shape or images.dtype.kind not in "buif":
        raise UserError(
            f"{what} must be numbers [row, height, width, channel], [row, channel, height, width] or "
            f"[row, height, width], found {images.dtype} of shape {list(images.shape)}."
        )
    if not np.isfinite(images).all():
        raise UserError(f"{what} must be finite numbers, found {images[~np.isfinite(images)][0]}.")
    if images.ndim == 3:
        logger.info("%s: %s are read as grey images [row, height, width]", what, list(images.shape))
        images = images[..., None]
    elif _layout(images, what, layout) == "channels_first":
        logger.info("%s: %s are read as channels first", what, list(images.shape))
        images = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(_as_bytes(images, what))


def _layout(images: np.ndarray, what: str, layout: str | None) -> str:
    """Where the channels are."""
    may_be = {"channels_last": images.shape[-1] <= CHANNELS, "channels_first": images.shape[1] <= CHANNELS}
    if layout is None and all(may_be.values()):
        raise UserError(
            f"{what} of shape {list(images.shape)} may have their channels first or last: add "
            f"data.source.layout=channels_first, or channels_last (with + in front where the key is new)."
        )
    chosen = layout or next((name for name in LAYOUTS if may_be[name]), None)
    if chosen is None or not may_be[chosen]:
        raise UserError(
            f"{what} must have at most {CHANNELS} channels{'' if layout is None else f' as {layout}'}, found shape "
            f"{list(images.shape)}."
        )
    return chosen


def _as_bytes(images: np.ndarray, what: str) -> np.ndarray:
    """The same values as uint8, or as float32 where they are no bytes."""
    low, high = images.min(), images.max()
    if images.dtype.kind in "bui" and 0 <= low and high <= 255:
        return images.astype(np.uint8)
    if images.dtype.kind == "f" and 0 <= low and high <= 1:
        scaled = np.round(images * 255.0)
        if np.allclose(scaled / 255, images, rtol=0, atol=1e-6):
            logger.info("%s: numbers from 0 to 1 are read as 255ths", what)
            return scaled.astype(np.uint8)
    if images.dtype.kind == "f" and 0 <= low and high <= 255 and np.array_equal(images, np.round(images)):
        return images.astype(np.uint8)
    logger.info("%s: values from %g to %g are kept as they are, in single precision", what, low, high)
    return images.astype(np.float32)


def label_array(labels: np.ndarray, rows: int, what: str) -> np.ndarray:
    """A label for each image.

    Args:
        labels: `[row]`, whole numbers or text; or one-hot `[row, class]`.
        rows: how many images there are.
        what: these are, for errors.

    Returns:
        `[row]`; class numbers for one-hot labels, else the labels.

    Raises:
        UserError: for another shape or type.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "buif" and (np.sort(labels, 1)[:, :-1] == 0).all():
        if (labels.max(1) == 1).all():
            logger.info("%s: read as one-hot, %d classes", what, labels.shape[1])
            labels = labels.argmax(1)
    if labels.shape != (rows,) or labels.dtype.kind not in "buifUS":
        raise UserError(
            f"{what} must be a whole number or a word for each of the {rows} images, or one-hot [row, class], found "
            f"{labels.dtype} of shape {list(labels.shape)}."
        )
    return labels.astype(str) if labels.dtype.kind == "S" else labels


def class_names(named: np.ndarray | None, classes: tuple[str, ...], what: str) -> tuple[str, ...] | None:
    """What people call the classes.

    Args:
        named: a name for each label 0, 1, … in their order, or None.
        classes: the labels, as text, in their order.
        what: these names are, for errors.

    Returns:
        Names by class number; None where they are the numbers themselves.

    Raises:
        UserError: where there is not one name for each class, or labels are names already.
    """
    are_numbers = classes == tuple(map(str, range(len(classes))))
    if named is None:
        return None if are_numbers else classes
    names = [str(name) for name in np.ravel(named)]
    if not are_numbers or len(set(names)) < len(names) or len(names) != len(classes):
        raise UserError(
            f"{what} must name each class once where labels are 0, 1, …, found {len(names)} names "
            f"({', '.join(names[:3])}) for the labels {', '.join(classes[:3])}{', …' if len(classes) > 3 else ''}: "
            "leave it out, or give every class its name."
        )
    return tuple(names)
