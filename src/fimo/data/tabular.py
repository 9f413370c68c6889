"""Tabular data: a table split at random, its numbers standardised and its categories one-hot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from fimo.data.base import Choice, Data, DataInfo, RowNames
from fimo.data.classes import class_numbers, require_known_classes
from fimo.data.descriptions import TableDescriptions
from fimo.data.duplicates import log_duplicates
from fimo.data.features import Features, scaled
from fimo.data.splits import random_split, require_no_draw
from fimo.data.tables import Table, cell_text
from fimo.errors import UserError
from fimo.rows import Rows, map_inputs

TASKS = ("regression", "classification", "multilabel")


class TableSource(Protocol):
    """Where a table comes from."""

    def read(self, data_dir: Path) -> Table:
        """The table."""
        ...


@dataclass(frozen=True, kw_only=True)
class TabularData(Choice):
    """A table, split at random; its numbers are standardised with the statistics of its training split.

    Attributes:
        name: of the folder that results on these data go to.
        batch_size: of further training.
        source: where the table comes from; where it brings a split of its own, that one is taken.
        task: `regression` (each target is standardised too), `classification`, or `multilabel`, targets of 0 and 1.
        data_dir: folder of downloaded files.
        test_size: share of the rows that are test examples.
        random_state: of scikit-learn's `train_test_split`.
        stratify: give both splits each class in the same share.
        standardise: bring numbers and regression targets to mean 0 and deviation 1; false leaves them as they are.
        sparse: give inputs as a mapping: `columns`, int64, the numbers of the features that are not zero, and `values`,
            float32, both `[row, column of the table]`. Otherwise they are the equal matrix `[row, feature]`.
    """

    name: str
    batch_size: int
    source: TableSource
    task: str
    data_dir: str
    test_size: float
    random_state: int = 0
    stratify: bool = False
    standardise: bool = True
    sparse: bool = False

    def load(self) -> Data:
        """Read the table, split and encode it, and choose rows.

        Raises:
            UserError: where the source can't be read, or the splits have no such rows.
        """
        table = self.source.read(Path(self.data_dir))
        train, test = self._split(table)
        log_duplicates(table, train, test)
        features = Features.of(table, train, self.standardise)
        inputs = features.sparse() if self.sparse else features.dense()
        targets, classes = self._targets(table, train)

        def rows(index: np.ndarray, weights: torch.Tensor | None = None) -> Rows:
            some = Rows(map_inputs(lambda tensor: tensor[index], inputs), targets[index], torch.arange(len(index)))
            return some.weighted_by(weights)

        def display(split: str, row: int, label: str | None = None) -> str:
            return table.display({"train": train, "test": test}[split][row], training=split == "train", label=label)

        names = table.names
        info = DataInfo(
            inputs=len(features.names),
            outputs=targets.shape[1] if classes is None else len(classes),
            display=display,
            names=RowNames() if names is None else RowNames(names[train].tolist(), names[test].tolist()),
            classes=classes,
            columns={name: column[train] for name, column in table.columns.items()},
            describe=TableDescriptions(table, {"train": train, "test": test}),
        )
        return self.of(rows(train, _weights(table, train)), rows(test), info)

    def _split(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the training rows and of the test rows."""
        if table.in_test is None:
            classes = table.targets_by_name.get(table.target) if self.stratify else None
            if self.stratify and (self.task != "classification" or classes is None):
                raise UserError(f"data.stratify=true is for data.task=classification, found {self.task}.")
            return random_split(len(table.inputs), self.test_size, self.random_state, classes)
        require_no_draw(self)
        return np.flatnonzero(~table.in_test), np.flatnonzero(table.in_test)

    def _targets(self, table: Table, train: np.ndarray) -> tuple[torch.Tensor, tuple[str, ...] | None]:
        """Targets as `Rows` wants them, and the names of their classes, where they have some."""
        named = table.targets_by_name
        if self.task not in TASKS:
            raise UserError(f"data.task must be {', '.join(TASKS[:-1])} or {TASKS[-1]}, found {self.task!r}.")
        if self.task == "classification":
            if len(named) > 1:
                raise UserError(
                    f"data.task=classification needs one target, found {', '.join(named)}: choose data.task=multilabel "
                    "for labels that are 0 or 1, or data.task=regression for numbers."
                )
            what = f"The target '{table.target}'"
            classes, names = class_numbers(table.targets_by_name[table.target], what)
            require_known_classes(classes, train, names, what)
            return torch.from_numpy(classes), names
        read = _labels if self.task == "multilabel" else _real_numbers
        rows = [f"row {row}" for row in range(len(table.inputs))] if table.names is None else table.names.tolist()
        columns = np.stack([read(name, values, rows) for name, values in named.items()], 1)
        for name, column in zip(named, columns[train].T, strict=True):
            if (column == column[0]).all():
                raise UserError(f"The target '{name}' has one value in all training rows: there is nothing to fit.")
        if self.task == "regression":
            columns = scaled(list(named), columns, train, self.standardise)
        return torch.from_numpy(columns).float(), None


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


def _real_numbers(target: str, values: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """The targets as float64; `rows` is what people call their rows."""
    if values.dtype.kind in "fiu":
        return values.astype("float64")
    import pandas as pd

    wrong = np.isnan(pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy("float64"))
    wrong = wrong if wrong.any() else np.ones(len(values), dtype=bool)  # numbers that are stored as text
    row = int(np.argmax(wrong))
    raise UserError(
        f"data.task=regression needs numbers in the target '{target}', found {cell_text(values[row])!r} in {rows[row]} "
        f"({wrong.sum()} of {len(values)} values are not numbers): mend them, or choose data.task=classification."
    )


def _labels(target: str, values: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """The targets, 0 and 1 or false and true, as float64; `rows` is what people call their rows."""
    wrong = ~np.isin(values, [0, 1]) if values.dtype.kind in "fiub" else np.ones(len(values), dtype=bool)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"data.task=multilabel needs 0 or 1 in the target '{target}', found {cell_text(values[row])!r} in "
            f"{rows[row]} ({wrong.sum()} of {len(values)} values are others): mend them, or choose another task."
        )
    return values.astype("float64")
