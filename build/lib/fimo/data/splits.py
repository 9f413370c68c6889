"""Which rows of a training split are left out in turn, and which are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fimo.errors import UserError

LeftOut = int | str | Sequence[int]


def read_left_out(wanted: LeftOut) -> int | list[int]:
    """The value of `data.left_out`, with a file replaced by the integers in it (a JSON list, or one on each line).

    Raises:
        UserError: where the file can't be read, or holds something other than integers.
    """
    if isinstance(wanted, int):
        return wanted
    if not isinstance(wanted, str):
        return _integers(list(wanted) if isinstance(wanted, Sequence) else [wanted], "data.left_out")
    path = Path(wanted)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as reason:
        raise UserError(
            f"data.left_out must be a count, a list of row numbers or a readable file of them, found {wanted!r} "
            f"({getattr(reason, 'strerror', None) or reason})."
        ) from reason
    if not text.lstrip().startswith("["):
        return _integers([_integer(word) for word in text.split()], wanted)
    try:
        return _integers(json.loads(text), wanted)
    except json.JSONDecodeError as reason:
        raise UserError(f"{path} must be a JSON list of integers or one integer a line ({reason}).") from reason


def _integer(word: str) -> int | str:
    return int(word) if re.fullmatch(r"-?[0-9]+", word) else word


def _integers(numbers: list, where: str) -> list[int]:
    wrong = [number for number in numbers if not isinstance(number, int) or isinstance(number, bool)]
    if wrong or not numbers:
        raise UserError(f"{where} must hold integers, found {wrong[0] if wrong else 'none'!r}.")
    return numbers


def left_out_rows(wanted: LeftOut, rows: int) -> list[int]:
    """Positions of the left-out rows in a training split; a count k gives k evenly spaced ones.

    Args:
        wanted: a count, positions, or a file of positions (see `read_left_out`).
        rows: how many rows the training split has.

    Returns:
        The positions, in the order in which they were named.

    Raises:
        UserError: where a position is outside the split or named twice, or the count doesn't fit.
    """
    wanted = read_left_out(wanted)
    if isinstance(wanted, int):
        if not 1 <= wanted <= rows:
            raise UserError(f"data.left_out must be a count from 1 to {rows} (the training rows), found {wanted}.")
        return [number * rows // wanted for number in range(wanted)]
    outside = [number for number in wanted if not 0 <= number < rows]
    if outside:
        raise UserError(f"data.left_out must name training rows from 0 to {rows - 1}, found {outside[0]}.")
    if len(set(wanted)) < len(wanted):
        twice = next(number for number in wanted if wanted.count(number) > 1)
        raise UserError(f"data.left_out must name each training row once, found {twice} twice.")
    return wanted


def kept_rows(rows: int, at_most: int | None, left_out: Sequence[int]) -> np.ndarray:
    """Positions of the training rows to keep: all, or evenly spaced ones and those left out among them.

    Args:
        rows: how many rows the training split has.
        at_most: how many rows to keep at most; None for all.
        left_out: positions of the left-out rows, all of which are kept.

    Returns:
        `[kept]`, int64, ascending.

    Raises:
        UserError: where the left-out rows are more than `at_most`.
    """
    if at_most is None or at_most >= rows:
        return np.arange(rows)
    if at_most < len(left_out):
        raise UserError(f"data.train_rows must be at least the {len(left_out)} left-out examples, found {at_most}.")
    others = np.setdiff1d(np.arange(rows), left_out)
    count = at_most - len(left_out)
    return np.sort(np.concatenate([left_out, others[np.arange(count) * len(others) // max(count, 1)]])).astype(int)
