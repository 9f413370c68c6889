"""What every kind of data gives: rows of both splits, ready for a network, and the examples as people read them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from fimo.data.descriptions import Describe, described, relabelled
from fimo.data.flips import Flips, flip_labels
from fimo.data.left_out import LeftOut, described_groups, is_described, kept_rows, listed_groups
from fimo.descriptions import Description
from fimo.errors import UserError
from fimo.groups import Groups
from fimo.rows import Rows

logger = logging.getLogger(__name__)
Columns = Mapping[str, np.ndarray]


class Display(Protocol):
    """An example as people read it."""

    def __call__(self, split: str, row: int, label: str | None = None) -> str | np.ndarray:
        """A line of text, or an image `[height, width, channel]`, uint8.

        Args:
            split: `train` or `test`.
            row: position in that split.
            label: to be read in place of the row's own, where it was flipped; an image shows none.
        """
        ...


@dataclass(frozen=True)
class RowNames:
    """What people call the rows of both splits, for each position: `line 12`, `id A17`.

    Attributes:
        train, test: a name for each row of the entire split; None where its position says all there is to say.
    """

    train: Sequence[str] | None = None
    test: Sequence[str] | None = None

    def of(self, split: str, row: int) -> str | None:
        """The name of a row, or None where it has no other than its position.

        Args:
            split: `train` or `test`.
            row: position in that split.
        """
        names = {"train": self.train, "test": self.test}[split]
        return None if names is None else str(names[row])


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What is to know of two entire splits beside their rows.

    Attributes:
        inputs: what a network's first layer is as wide as: features of a table, channels of an image, words of a
            vocabulary.
        outputs: number of outputs of a network for this task.
        display: an example as people read it, in one line or as pixels.
        names: what people call the rows.
        classes: names of the classes, or of several labels, by number; None where they have none.
        columns: what the training rows can be grouped by, by name, `[row]` of the entire split.
        describe: an example with its parts (columns, tokens, class); None where nothing more than `display` is known.
        word: the text of a token, by its number, of data for language models; None for others.
    """

    inputs: int
    outputs: int
    display: Display
    names: RowNames = RowNames()
    classes: tuple[str, ...] | None = None
    columns: Columns = field(default_factory=dict)
    describe: Describe | None = None
    word: Callable[[int], str] | None = None


@dataclass(frozen=True, kw_only=True)
class Data(DataInfo):
    """Rows of both splits, ready for a network.

    Attributes:
        train: training rows.
        test: the test examples that are evaluated; where these are the final model's mistakes, all that it may be.
        test_all: the entire test split, for the final model's metrics.
        left_out: groups of positions in `train`.
        mistakes: of the test examples only so many that the final model gets wrong are evaluated; None for those of
            `test` as they are.
        flips: which training labels were made wrong; None where none were.
    """

    train: Rows
    test: Rows
    test_all: Rows
    left_out: Groups
    mistakes: int | None = None
    flips: Flips | None = None

    @property
    def flipped(self) -> Tensor | None:
        """Positions in the entire training split of the rows whose labels were made wrong, ascending; None for none."""
        return None if self.flips is None else self.flips.rows

    def description(self, split: str, row: int) -> Description:
        """An example as people want to see it, a training row with the label that it has now.

        Args:
            split: `train` or `test`.
            row: position in that split.
        """
        if self.describe is None:
            return described(self.display(split, row))
        label = self.flips.label(row, self.classes) if self.flips is not None and split == "train" else None
        return self.describe(split, row) if label is None else relabelled(self.describe(split, row), label)


MISCLASSIFIED: Literal["misclassified"] = "misclassified"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which rows of the splits are used; every kind of data is one.

    Attributes:
        left_out: what of the training split is left out in turn (see `fimo.data.left_out`): rows or groups of rows.
        left_out_first: of rows that are listed or counted, keep so many from the first; None for all.
        train_rows: keep at most so many training rows, the left-out ones among them.
        test_count: evaluate so many test examples, from the first; None for all.
        tested: evaluate these positions of the test split in place of the first, or, of `misclassified`, the first
            `test_count` that the final model gets wrong; None for the first `test_count`.
        at_most: the counts `left_out` and `test_count` are upper bounds, for data whose rows aren't known beforehand.
        flip: share of the training rows that get a wrong class; None for none.
        flip_seed: of the choice of these rows and classes.
    """

    left_out: LeftOut
    left_out_first: int | None = None
    train_rows: int | None = None
    test_count: int | None = None
    tested: Sequence[int] | str | None = None
    at_most: bool = False
    flip: float | None = None
    flip_seed: int = 0

    def training_rows(self, rows: int) -> np.ndarray:
        """Positions `[kept]`, ascending, of those rows of a training split of `rows` rows that are kept.

        Raises:
            UserError: where the split has no such left-out rows, or they are more than the rows to keep.
        """
        listed = [] if is_described(self.left_out) else self._first(self._listed(rows)).rows.tolist()
        return kept_rows(rows, self.train_rows, listed)

    def of(self, train: Rows, test: Rows, info: DataInfo) -> Data:
        """The chosen rows of two entire splits.

        Args:
            train: the entire training split.
            test: the entire test split.
            info: what is to know of them.

        Raises:
            UserError: where the splits have no such rows.
        """
        kept = train.keep(torch.from_numpy(self.training_rows(len(train))))
        return self.of_kept(kept, len(train), test, info)

    def of_kept(self, kept: Rows, rows: int, test: Rows, info: DataInfo) -> Data:
        """The same where the training rows were selected before, by `training_rows`.

        Args:
            kept: the training rows that are kept; their `index` is ascending.
            rows: how many rows the entire training split has.
            test: the entire test split.
            info: what is to know of both.

        Raises:
            UserError: where the splits have no such rows, or labels can't be flipped.
        """
        evaluated, mistakes = self._test_rows(len(test))
        known, flips = {entry.name: getattr(info, entry.name) for entry in fields(info)}, None
        if self.flip is not None:
            task = getattr(self, "task", None)
            kept, flips = flip_labels(kept, info.outputs, self.flip, self.flip_seed, task)
            known["display"] = partial(_display_flipped, info, flips)
        return Data(
            **known,
            train=kept,
            test=test.keep(evaluated),
            test_all=test,
            left_out=self._left_out(kept, rows, info.columns),
            mistakes=mistakes,
            flips=flips,
        )

    def _test_rows(self, rows: int) -> tuple[torch.Tensor | slice, int | None]:
        """Which test examples are evaluated, and how many of them at most where they have to be mistakes."""
        count = rows if self.test_count is None else min(self.test_count, rows) if self.at_most else self.test_count
        if self.tested is None or self.tested == MISCLASSIFIED:
            if not 1 <= count <= rows:
                raise UserError(f"data.test_count must be from 1 to {rows} (the test examples), found {count}.")
            return (slice(0, count), None) if self.tested is None else (slice(0, rows), count)
        positions = self.tested
        if isinstance(positions, (str, int)) or not positions or any(type(place) is not int for place in positions):
            raise UserError(
                f"data.tested must be positions in the test split, as in [7,12], or {MISCLASSIFIED}, found {positions}."
            )
        if wrong := [p for p in positions if not 0 <= p < rows or positions.count(p) > 1]:
            raise UserError(
                f"data.tested must name test examples from 0 to {rows - 1}, each once, found {wrong[0]}"
                f"{' twice' if 0 <= wrong[0] < rows else ''}."
            )
        return torch.tensor(list(positions)), None

    def _listed(self, rows: int) -> Groups:
        wanted = min(self.left_out, rows) if self.at_most and isinstance(self.left_out, int) else self.left_out
        return listed_groups(wanted, rows)

    def _first(self, groups: Groups) -> Groups:
        return Groups(groups.members[: self.left_out_first]) if groups.names is None else groups

    def _left_out(self, kept: Rows, rows: int, columns: Columns) -> Groups:
        if is_described(self.left_out):
            return described_groups(self.left_out, len(kept), {name: c[kept.index] for name, c in columns.items()})
        listed = self._listed(rows)
        groups, wanted = self._first(listed), self.left_out if isinstance(self.left_out, int) else len(listed)
        if len(groups) < wanted:
            why = "there are no more rows" if len(groups) == rows else f"data.left_out_first={self.left_out_first}"
            logger.info("data: %d of the %d that data.left_out names are left out (%s)", len(groups), wanted, why)
        return groups.at(kept.index)


def _display_flipped(info: DataInfo, flips: Flips, split: str, row: int, label: str | None = None) -> str | np.ndarray:
    """An example with the label that it has now, and the one that it had."""
    return info.display(split, row, flips.label(row, info.classes) if split == "train" else label)
