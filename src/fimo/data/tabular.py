"""Tables: split at random and standardised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fimo.data.base import Choice, Data
from fimo.data.splits import LeftOut
from fimo.data.tables import Table
from fimo.errors import UserError
from fimo.rows import Rows


class TableSource(Protocol):
    """Where a table comes from."""

    def read(self, data_dir: Path) -> Table:
        """The table."""
        ...


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
        left_out, left_out_first, train_rows, test_count: see `Choice`.
    """

    name: str
    batch_size: int
    source: TableSource
    task: str
    data_dir: str
    left_out: LeftOut
    test_size: float
    random_state: int = 0
    left_out_first: int | None = None
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
        choice = Choice(self.left_out, self.left_out_first, self.train_rows, self.test_count)
        rows = {
            split: Rows(inputs[index], targets[index], torch.arange(len(index)))
            for split, index in (("train", train), ("test", test))
        }

        def shown(split: str, row: int) -> str:
            values = table.inputs[(train if split == "train" else test)[row]]
            return ", ".join(f"{name} {value:g}" for name, value in zip(table.features, values, strict=True))

        return choice.of(rows["train"], rows["test"], inputs.shape[1], outputs, shown)

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
