"""Tabular data: a table split at random, its numbers standardised and its categories one-hot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from fimo.data.base import Choice, Data
from fimo.data.features import Features
from fimo.data.left_out import LeftOut
from fimo.data.tables import Table, cell_text
from fimo.errors import UserError
from fimo.rows import Rows, map_inputs

TASKS = ("regression", "classification", "multilabel")


class TableSource(Protocol):
    """Where a table comes from."""

    def read(self, data_dir: Path) -> Table:
        """The table."""
        ...


@dataclass(frozen=True)
class TabularData:
    """A table, split at random; its numbers are standardised with the statistics of its training split.

    Attributes:
        name: of the folder that results on these data go to.
        batch_size: of further training.
        source: where the table comes from.
        task: `regression` (each target is standardised too), `classification`, or `multilabel`, targets of 0 and 1.
        data_dir: folder of downloaded files.
        test_size: share of the rows that are test examples.
        random_state: of scikit-learn's `train_test_split`.
        left_out, left_out_first, train_rows, test_count: see `Choice`.
        at_most: the counts `left_out` and `test_count` are upper bounds, for tables whose rows aren't known beforehand.
        sparse: give inputs as a mapping: `columns`, int64, the numbers of the features that are not zero, and `values`,
            float32, both `[row, column of the table]`. Otherwise they are the equal matrix `[row, feature]`.
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
    at_most: bool = False
    sparse: bool = False

    def load(self) -> Data:
        """Read the table, split and encode it, and choose rows.

        Raises:
            UserError: where the source can't be read, or the splits have no such rows.
        """
        table = self.source.read(Path(self.data_dir))
        train, test = self._split(len(table.inputs))
        features = Features.of(table, train)
        inputs = features.sparse() if self.sparse else features.dense()
        targets, outputs = self._targets(table, train)

        def rows(index: np.ndarray, weights: torch.Tensor | None = None) -> Rows:
            some = Rows(map_inputs(lambda tensor: tensor[index], inputs), targets[index], torch.arange(len(index)))
            return some.weighted_by(weights)

        def display(split: str, row: int) -> str:
            return table.display({"train": train, "test": test}[split][row], training=split == "train")

        left_out, test_count = self.left_out, self.test_count
        if self.at_most:
            left_out = min(left_out, len(train)) if isinstance(left_out, int) else left_out
            test_count = min(test_count, len(test)) if isinstance(test_count, int) else test_count
        choice = Choice(left_out, self.left_out_first, self.train_rows, test_count)
        columns = {name: column[train] for name, column in table.columns.items()}
        train_split = rows(train, _weights(table, train))
        return choice.of(train_split, rows(test), len(features.names), outputs, display, columns)

    def _split(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.model_selection import train_test_split

        try:
            return train_test_split(np.arange(rows), test_size=self.test_size, random_state=self.random_state)
        except ValueError as reason:
            raise UserError(
                f"data.test_size={self.test_size} of {rows} rows leaves none for training or none for the test: "
                "choose another share, or bring more rows."
            ) from reason

    def _targets(self, table: Table, train: np.ndarray) -> tuple[torch.Tensor, int]:
        """Targets as `Rows` wants them, and the number of outputs that they need."""
        from sklearn.preprocessing import StandardScaler

        named = table.targets_by_name
        if self.task not in TASKS:
            raise UserError(f"data.task must be {', '.join(TASKS[:-1])} or {TASKS[-1]}, found {self.task!r}.")
        if self.task == "classification":
            if len(named) > 1:
                raise UserError(
                    f"data.task=classification needs one target, found {', '.join(named)}: choose data.task=multilabel "
                    "for labels that are 0 or 1, or data.task=regression for numbers."
                )
            classes = _classes(table.target, table.targets_by_name[table.target], train)
            return torch.from_numpy(classes), int(classes.max()) + 1
        read = _labels if self.task == "multilabel" else _real_numbers
        columns = np.stack([read(name, values) for name, values in named.items()], 1)
        for name, column in zip(named, columns[train].T, strict=True):
            if (column == column[0]).all():
                raise UserError(f"The target '{name}' has one value in all training rows: there is nothing to fit.")
        if self.task == "regression":
            columns = StandardScaler().fit(columns[train]).transform(columns)
        return torch.from_numpy(columns).float(), len(named)


def _weights(table: Table, train: np.ndarray) -> torch.Tensor | None:
    """Weights of the training rows."""
    if table.weights is None:
        return None
    weights = table.weights.to_numpy()[train]
    if not weights.any():
        raise UserError(
            f"data.source.weight needs a number above 0 in some training row, found nothing but 0 in column "
            f"'{table.weights.name}': choose another column, or null."
        )
    return torch.from_numpy(weights)


def _real_numbers(target: str, values: np.ndarray) -> np.ndarray:
    """The targets as float64."""
    if values.dtype.kind in "fiu":
        return values.astype("float64")
    import pandas as pd

    wrong = values[np.isnan(pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy("float64"))]
    wrong = wrong if len(wrong) else values  # numbers that are stored as text
    raise UserError(
        f"data.task=regression needs numbers in the target '{target}', found {cell_text(wrong[0])!r} "
        f"({len(wrong)} of {len(values)} values are not numbers): mend them, or choose data.task=classification."
    )


def _labels(target: str, values: np.ndarray) -> np.ndarray:
    """The targets, 0 and 1 or false and true, as float64."""
    wrong = ~np.isin(values, [0, 1]) if values.dtype.kind in "fiub" else np.ones(len(values), dtype=bool)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"data.task=multilabel needs 0 or 1 in the target '{target}', found {cell_text(values[row])!r} in data row "
            f"{row + 1} ({wrong.sum()} of {len(values)} values are something else): mend them, or choose another task."
        )
    return values.astype("float64")


def _classes(target: str, values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The targets as class numbers 0, 1, … in the labels' sorted order, int64."""
    labels, classes = np.unique(values, return_inverse=True)
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.arange(len(labels))):
        raise UserError(
            f"data.task=classification needs targets that are class numbers 0, 1, …, found {labels[0]:g} to "
            f"{labels[-1]:g}: choose data.task=regression."
        )
    if len(labels) == 1:
        raise UserError(f"The target '{target}' has one class, {cell_text(labels[0])!r}: two or more are needed.")
    if len(labels) == len(classes):
        raise UserError(
            f"The target '{target}' has as many classes as rows, {len(labels)}: choose data.task=regression, or "
            "another data.source.target."
        )
    if len(only_test := np.setdiff1d(classes, classes[train])):
        raise UserError(
            f"The target '{target}' has the class {cell_text(labels[only_test[0]])!r} in test rows only "
            f"({len(only_test)} such classes): remove these rows, or choose data.task=regression."
        )
    return classes.astype("int64")
