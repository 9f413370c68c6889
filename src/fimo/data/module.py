"""From a source of examples to the rows that a problem is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fimo.data.splits import LeftOut, kept_rows, left_out_rows
from fimo.data.tables import Table
from fimo.errors import UserError
from fimo.rows import Rows


class TableSource(Protocol):
    """Where a table comes from."""

    def read(self, data_dir: Path) -> Table:
        """The table."""
        ...


@dataclass(frozen=True)
class Data:
    """Rows of both splits, ready for a network.

    Attributes:
        train: training rows.
        test: the test examples that are evaluated.
        test_all: the whole test split, for the final model's metrics.
        left_out: `[left_out]`, positions in `train`.
        inputs: number of input features.
        outputs: number of outputs of a network for this task.
    """

    train: Rows
    test: Rows
    test_all: Rows
    left_out: torch.Tensor
    inputs: int
    outputs: int


@dataclass(frozen=True)
class TabularData:
    """A table, split at random and standardised with the statistics of its training split.

    Attributes:
        name: of the folder that results on these data go to.
        batch_size: of further training.
        source: where the table comes from.
        task: `regression` (the target is standardised too) or `classification`.
        data_dir: folder of downloaded files.
        test_size: share of the rows that are test examples.
        random_state: of scikit-learn's `train_test_split`.
        left_out: rows of the training split to leave out in turn: their positions, a count of evenly spaced ones, or
            a file of positions.
        train_rows: keep at most so many training rows, the left-out ones among them.
        test_count: evaluate so many test examples, from the first; None for all.
    """

    name: str
    batch_size: int
    source: TableSource
    task: str
    data_dir: str
    left_out: LeftOut
    test_size: float
    random_state: int = 0
    train_rows: int | None = None
    test_count: int | None = None

    def load(self) -> Data:
        """Read, split, standardise, choose rows.

        Raises:
            UserError: where the source can't be read, or the chosen rows aren't there.
        """
        table = self.source.read(Path(self.data_dir))
        train, test = train_test_split(
            np.arange(len(table.targets)), test_size=self.test_size, random_state=self.random_state
        )
        inputs = torch.from_numpy(StandardScaler().fit(table.inputs[train]).transform(table.inputs)).float()
        targets, outputs = self._targets(table.targets, train)
        positions = left_out_rows(self.left_out, len(train))
        kept = torch.from_numpy(kept_rows(len(train), self.train_rows, positions))
        train_rows = Rows(inputs[train], targets[train], torch.arange(len(train))).keep(kept)
        test_rows = Rows(inputs[test], targets[test], torch.arange(len(test)))
        count = len(test) if self.test_count is None else self.test_count
        if not 1 <= count <= len(test):
            raise UserError(f"data.test_count must be from 1 to {len(test)} (the test examples), found {count}.")
        return Data(
            train=train_rows,
            test=test_rows.keep(slice(0, count)),
            test_all=test_rows,
            left_out=torch.searchsorted(train_rows.index, torch.tensor(positions)),
            inputs=inputs.shape[1],
            outputs=outputs,
        )

    def _targets(self, targets: np.ndarray, train: np.ndarray) -> tuple[torch.Tensor, int]:
        """Targets as `Rows` wants them, and the number of outputs that they need."""
        if self.task not in ("regression", "classification"):
            raise UserError(f"data.task must be regression or classification, found {self.task!r}.")
        if self.task == "regression":
            column = targets[:, None]
            return torch.from_numpy(StandardScaler().fit(column[train]).transform(column)).float(), 1
        classes = np.unique(targets)
        if not np.array_equal(classes, np.arange(len(classes))):
            raise UserError(
                f"data.task=classification needs targets that are class numbers 0, 1, …, found {classes[0]:g} to "
                f"{classes[-1]:g}: choose data.task=regression."
            )
        return torch.from_numpy(targets).long(), len(classes)
