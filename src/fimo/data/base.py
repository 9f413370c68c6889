"""What every kind of data gives: rows of both splits, ready for a network, and the examples as people read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fimo.data.left_out import LeftOut, described_groups, is_described, kept_rows, listed_groups
from fimo.errors import UserError
from fimo.groups import Groups
from fimo.rows import Rows

# An example as people read it: ("train" or "test", position in that split) gives a line of text, or an image
# [height, width, channel], uint8.
Display = Callable[[str, int], str | np.ndarray]
Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Data:
    """Rows of both splits, ready for a network.

    Attributes:
        train: training rows.
        test: the test examples that are evaluated.
        test_all: the entire test split, for the final model's metrics.
        left_out: groups of positions in `train`.
        inputs: what a network's first layer is as wide as: features of a table, channels of an image, words of a
            vocabulary.
        outputs: number of outputs of a network for this task.
        display: an example as people read it.
    """

    train: Rows
    test: Rows
    test_all: Rows
    left_out: Groups
    inputs: int
    outputs: int
    display: Display


@dataclass(frozen=True)
class Choice:
    """Which rows of the splits are used; the last fields of every kind of data.

    Attributes:
        left_out: what of the training split is left out in turn (see `fimo.data.left_out`): rows or groups of rows.
        left_out_first: of rows that are listed or counted, keep so many from the first; None for all.
        train_rows: keep at most so many training rows, the left-out ones among them.
        test_count: evaluate so many test examples, from the first; None for all.
    """

    left_out: LeftOut
    left_out_first: int | None = None
    train_rows: int | None = None
    test_count: int | None = None

    def training_rows(self, rows: int) -> np.ndarray:
        """Positions `[kept]`, ascending, of those rows of a training split of `rows` rows that are kept.

        Raises:
            UserError: where the split has no such left-out rows, or they are more than the rows to keep.
        """
        listed = [] if is_described(self.left_out) else self._listed(rows).rows.tolist()
        return kept_rows(rows, self.train_rows, listed)

    def of(
        self, train: Rows, test: Rows, inputs: int, outputs: int, display: Display, columns: Columns | None = None
    ) -> Data:
        """The chosen rows of two entire splits.

        Args:
            train: the entire training split.
            test: the entire test split.
            inputs: what a network's first layer is as wide as (see `Data`).
            outputs: number of outputs of a network for this task.
            display: an example as people read it.
            columns: what the training rows can be grouped by, by name, `[row]` of the entire split.

        Raises:
            UserError: where the splits have no such rows.
        """
        kept = train.keep(torch.from_numpy(self.training_rows(len(train))))
        return self.of_kept(kept, len(train), test, inputs, outputs, display, columns)

    def of_kept(
        self,
        kept: Rows,
        rows: int,
        test: Rows,
        inputs: int,
        outputs: int,
        display: Display,
        columns: Columns | None = None,
    ) -> Data:
        """The same where the training rows were selected before, by `training_rows`.

        Args:
            kept: the training rows that are kept; their `index` is ascending.
            rows: how many rows the entire training split has.
            test: the entire test split.
            inputs: what a network's first layer is as wide as (see `Data`).
            outputs: number of outputs of a network for this task.
            display: an example as people read it.
            columns: what the training rows can be grouped by, by name, `[row]` of the entire split.

        Raises:
            UserError: where the splits have no such rows.
        """
        count = len(test) if self.test_count is None else self.test_count
        if not 1 <= count <= len(test):
            raise UserError(f"data.test_count must be from 1 to {len(test)} (the test examples), found {count}.")
        return Data(
            train=kept,
            test=test.keep(slice(0, count)),
            test_all=test,
            left_out=self._left_out(kept, rows, columns or {}),
            inputs=inputs,
            outputs=outputs,
            display=display,
        )

    def _listed(self, rows: int) -> Groups:
        groups = listed_groups(self.left_out, rows)
        return Groups(groups.members[: self.left_out_first]) if groups.names is None else groups

    def _left_out(self, kept: Rows, rows: int, columns: Columns) -> Groups:
        if is_described(self.left_out):
            return described_groups(self.left_out, len(kept), {name: c[kept.index] for name, c in columns.items()})
        return self._listed(rows).at(kept.index)
