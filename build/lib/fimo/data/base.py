"""What every kind of data gives: rows of both splits, ready for a network, and the examples as people read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fimo.data.splits import LeftOut, kept_rows, left_out_rows
from fimo.errors import UserError
from fimo.rows import Rows

# An example as people read it: ("train" or "test", position in that split) gives a line of text, or an image
# [height, width, channel], uint8.
Display = Callable[[str, int], str | np.ndarray]


@dataclass(frozen=True)
class Data:
    """Rows of both splits, ready for a network.

    Attributes:
        train: training rows.
        test: the test examples that are evaluated.
        test_all: the entire test split, for the final model's metrics.
        left_out: `[left_out]`, int64, positions in `train`.
        inputs: what a network's first layer is as wide as: features of a table, channels of an image, words of a
            vocabulary.
        outputs: number of outputs of a network for this task.
        display: an example as people read it.
    """

    train: Rows
    test: Rows
    test_all: Rows
    left_out: Tensor
    inputs: int
    outputs: int
    display: Display


@dataclass(frozen=True)
class Choice:
    """Which rows of the splits are used; the last fields of every kind of data.

    Attributes:
        left_out: rows of the training split to leave out in turn: their positions, a count of evenly spaced ones, or
            a file of positions.
        left_out_first: keep so many of them, from the first; None for all.
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
        return kept_rows(rows, self.train_rows, self._left_out(rows))

    def of(self, train: Rows, test: Rows, inputs: int, outputs: int, display: Display) -> Data:
        """The chosen rows of two entire splits.

        Args:
            train: the entire training split.
            test: the entire test split.
            inputs: what a network's first layer is as wide as (see `Data`).
            outputs: number of outputs of a network for this task.
            display: an example as people read it.

        Raises:
            UserError: where the splits have no such rows.
        """
        kept = train.keep(torch.from_numpy(self.training_rows(len(train))))
        return self.of_kept(kept, len(train), test, inputs, outputs, display)

    def of_kept(self, kept: Rows, rows: int, test: Rows, inputs: int, outputs: int, display: Display) -> Data:
        """The same where the training rows were selected before, by `training_rows`.

        Args:
            kept: the training rows that are kept; their `index` is ascending.
            rows: how many rows the entire training split has.
            test: the entire test split.
            inputs: what a network's first layer is as wide as (see `Data`).
            outputs: number of outputs of a network for this task.
            display: an example as people read it.

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
            left_out=torch.searchsorted(kept.index, torch.tensor(self._left_out(rows))),
            inputs=inputs,
            outputs=outputs,
            display=display,
        )

    def _left_out(self, rows: int) -> list[int]:
        return left_out_rows(self.left_out, rows)[: self.left_out_first]
