"""Classes: labels of any kind as numbers 0, 1, …, the same for tables, sentences and images."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import numpy as np

from fimo.data.columns import warn_of_spellings
from fimo.data.tables import cell_text
from fimo.errors import UserError

logger = logging.getLogger(__name__)

WHOLE_NUMBER = re.compile(r"-?[0-9]+")
# With more classes than this, and in so large a part of the rows, labels are something else: numbers, names, sentences.
MANY, SHARE_OF_WORDS, SHARE_OF_NUMBERS = 20, 0.5, 0.25
# Classes that a line of the log names.
NAMED = 5


def class_numbers(
    labels: np.ndarray | Sequence[object], what: str, other: str = "another target"
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers of classes, and their names.

    Whole numbers (also as 1.0, or as text) are classes in their numeric order, everything else in the order of the
    words. A line of the log says so where whole numbers are not 0, 1, … themselves.

    Args:
        labels: `[row]`, numbers, booleans or text.
        what: has these labels, for errors: `The target 'y'`.
        other: what else may have them, for errors.

    Returns:
        Class numbers `[row]`, int64, and the names of the classes in their order.

    Raises:
        UserError: for a single class, for numbers that are not whole, and for labels that are no classes, since almost
            every row has one of its own.
    """
    values = np.asarray(labels)
    if values.dtype.kind in "OUS" and all(WHOLE_NUMBER.fullmatch(str(label)) for label in values):
        values = np.array([int(label) for label in values])
    if values.dtype.kind == "f" and (values != np.round(values)).any():
        raise UserError(
            f"{what} must have classes, found the number {values[values != np.round(values)][0]:g}: choose "
            f"data.task=regression, or {other}."
        )
    if values.dtype.kind == "f":
        values = values.astype("int64")
    distinct, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    names = tuple(cell_text(label) for label in distinct.tolist())
    if len(names) < 2:
        raise UserError(f"{what} must have two or more classes, found {', '.join(map(repr, names)) or 'none'} only.")
    share = SHARE_OF_NUMBERS if distinct.dtype.kind in "iu" else SHARE_OF_WORDS
    if len(names) == len(values) > 2 or len(names) > max(MANY, share * len(values)):
        raise UserError(
            f"{what} must have classes, found {len(names)} different labels in {len(values)} rows (such as "
            f"{names[0]!r}): choose data.task=regression for numbers, or {other}."
        )
    if distinct.dtype.kind in "iu" and not np.array_equal(distinct, np.arange(len(distinct))):
        more = ", …" if len(names) > NAMED else ""
        logger.info("%s: the labels %s%s are the classes 0 to %d", what, ", ".join(names[:NAMED]), more, len(names) - 1)
    warn_of_spellings(names, f"{what} has the classes")
    if counts.min() == 1:
        once = [name for name, count in zip(names, counts, strict=True) if count == 1]
        logger.warning("%s: %d of %d classes occur once (%s)", what, len(once), len(names), ", ".join(once[:NAMED]))
    return numbers.astype("int64"), names


def require_known_classes(numbers: np.ndarray, train: np.ndarray, names: Sequence[str], what: str) -> None:
    """Refuse a class that only test rows have.

    Args:
        numbers: of the classes, `[row]`.
        train: which rows are trained on.
        names: of the classes.
        what: has these labels, for the error.

    Raises:
        UserError: naming the class.
    """
    if len(only_test := np.setdiff1d(numbers, numbers[train])):
        raise UserError(
            f"{what} must have every class in a training row, found {names[only_test[0]]!r} in test rows only "
            f"({len(only_test)} such classes): remove these rows, or choose another split (data.random_state, "
            "data.stratify=true)."
        )
