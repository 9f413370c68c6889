"""Which rows, or groups of rows, of a training split are left out in turn, and which rows are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fimo.data.tables import cell_text
from fimo.errors import UserError
from fimo.groups import Groups

LeftOut = int | str | Sequence[Any] | Mapping[str, Any]
# A group for each value of a column; groups drawn at random; all rows, one by one.
BY, RANDOM, ALL = "by", "random", "all"


def read_left_out(wanted: LeftOut) -> Any:
    """The value of `data.left_out`, with a file replaced by what is in it.

    Args:
        wanted: a count; row numbers; groups, as lists of them or a mapping of lists by name; `all`; `{by: COLUMN}`;
            `{random: k, share: s, seed: 0}`; or a file of row numbers or groups in JSON, or of one row number a line.

    Raises:
        UserError: where the file can't be read, or it holds something other than integers.
    """
    if type(wanted) is int or is_described(wanted):
        return wanted
    if not isinstance(wanted, str):
        return _integers(wanted if isinstance(wanted, (Sequence, Mapping)) else [wanted], "data.left_out")
    path = Path(wanted)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as reason:
        raise UserError(
            "data.left_out must be a count, a list of row numbers or of groups of them, all, {by: COLUMN}, "
            f"{{random: 50, share: 0.1}} or a readable file of row numbers or groups, found {wanted!r} "
            f"({getattr(reason, 'strerror', None) or reason})."
        ) from reason
    if not text.lstrip().startswith(("[", "{")):
        return _integers([_integer(word) for word in text.split()], wanted)
    try:
        return _integers(json.loads(text), wanted)
    except json.JSONDecodeError as reason:
        raise UserError(f"{path} must be a JSON list of integers or one integer a line ({reason}).") from reason


def _integer(word: str) -> int | str:
    return int(word) if re.fullmatch(r"-?[0-9]+", word) else word


def _integers(values: Sequence[Any] | Mapping[str, Any], where: str) -> Any:
    """Integers, or lists of them by number or by name, as plain lists and dicts."""
    if isinstance(values, Mapping):
        return {str(name): _integers(_group(group, where), where) for name, group in values.items()}
    if any(isinstance(value, Sequence) and not isinstance(value, str) for value in values):
        return [_integers(_group(group, where), where) for group in values]
    wrong = [value for value in values if not isinstance(value, int) or isinstance(value, bool)]
    if wrong or not values:
        raise UserError(f"{where} must hold integers, found {repr(wrong[0]) if wrong else 'nothing'}.")
    return list(values)


def _group(group: Any, where: str) -> Sequence[Any]:
    if isinstance(group, Sequence) and not group:
        raise UserError(f"{where} must hold one row or more in each group, found an empty group: leave it out.")
    if not isinstance(group, Sequence) or isinstance(group, str):
        raise UserError(f"{where} must hold a list of integers for each group, found {group!r}.")
    return group


def is_described(wanted: LeftOut) -> bool:
    """Whether groups are described by what their rows have in common, so that they don't decide which rows are kept."""
    return isinstance(wanted, Mapping) and (BY in wanted or RANDOM in wanted) or wanted == ALL


def listed_groups(wanted: LeftOut, rows: int) -> Groups:
    """Groups that are listed row by row; a count k gives k evenly spaced single rows.

    Args:
        wanted: a count, row numbers, lists of them, or a file (see `read_left_out`).
        rows: how many rows the training split has.

    Returns:
        The groups, in the order in which they were named.

    Raises:
        UserError: where a position is outside the split or named twice, or the count doesn't fit.
    """
    wanted = read_left_out(wanted)
    if isinstance(wanted, int):
        if not 1 <= wanted <= rows:
            raise UserError(f"data.left_out must be a count from 1 to {rows} (the training rows), found {wanted}.")
        return Groups.of([number * rows // wanted for number in range(wanted)], rows)
    if isinstance(wanted, list) and isinstance(wanted[0], int):
        if len(set(wanted)) < len(wanted):
            twice = next(number for number in wanted if wanted.count(number) > 1)
            raise UserError(f"data.left_out must name each training row once, found {twice} twice.")
    try:
        return Groups.of(wanted, rows)
    except UserError as error:
        raise UserError(f"data.{error}") from error


def described_groups(wanted: LeftOut, rows: int, columns: Mapping[str, np.ndarray]) -> Groups:
    """Groups by what their rows have in common.

    Args:
        wanted: `all`, `{by: COLUMN}` or `{random: k, share: s, seed: 0}`.
        rows: how many training rows are kept.
        columns: of the kept rows, by name.

    Returns:
        The groups: each row by itself, a group for each value of the column, or k groups of round(s · rows) rows.

    Raises:
        UserError: for a column that isn't there or tells nothing, and for a share of no row or of all.
    """
    if isinstance(wanted, str):
        return Groups.of(wanted, rows)
    assert isinstance(wanted, Mapping)
    groups = _groups_by(wanted, rows, columns) if BY in wanted else _random_groups(wanted, rows)
    return Groups.of(groups, rows)


def _groups_by(wanted: Mapping[str, Any], rows: int, columns: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    name = str(wanted[BY])
    if name not in columns or len(wanted) > 1:
        raise UserError(
            f"data.left_out={{{BY}: COLUMN}} needs one of the columns {', '.join(columns)}, found {dict(wanted)}."
        )
    column = columns[name]
    if column.dtype.kind == "O":  # of several types, perhaps
        column = np.array([cell_text(value) for value in column])
    values, group = np.unique(column, return_inverse=True)
    if not 1 < len(values) < rows:
        raise UserError(
            f"data.left_out={{{BY}: {name}}} makes a group of each value, but the column has {len(values)} in "
            f"{rows} training rows: choose a column with fewer values than rows, and at least two."
        )
    return {f"{name}={cell_text(value)}": np.flatnonzero(group == place).tolist() for place, value in enumerate(values)}


def _random_groups(wanted: Mapping[str, Any], rows: int) -> dict[str, list[int]]:
    expected = f"data.left_out={{{RANDOM}: 50, share: 0.1, seed: 0}} needs"
    if unknown := set(wanted) - {RANDOM, "share", "seed"}:
        raise UserError(f"{expected} no other key, found {', '.join(sorted(map(str, unknown)))}.")
    count, share, seed = wanted[RANDOM], wanted.get("share"), wanted.get("seed", 0)
    if type(count) is not int or count < 1 or type(seed) is not int or seed < 0:
        raise UserError(f"{expected} a number of groups of at least 1 and a seed of at least 0, found {dict(wanted)}.")
    size = round(share * rows) if isinstance(share, (int, float)) and np.isfinite(share) else 0
    if not 1 <= size < rows:
        raise UserError(
            f"data.left_out={dict(wanted)} needs a share above 0 and below 1 that is at least one of the {rows} "
            "training rows and not all of them: {random: 50, share: 0.1} draws 50 groups of a tenth."
        )
    random = np.random.default_rng(seed)
    return {f"random {number}": random.choice(rows, size, replace=False).tolist() for number in range(count)}


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
