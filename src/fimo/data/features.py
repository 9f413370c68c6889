"""Features: the columns of a table, encoded as a network's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fimo.data.tables import Table, cell_text
from fimo.errors import UserError


@dataclass(frozen=True)
class Features:
    """A table's columns as features: the numbers, standardised, then the categories, one-hot, each in column order.

    A row has one feature that is not zero for each column, so it is kept as these features' numbers and values; nothing
    here has the size rows × features but what `dense` returns.

    Attributes:
        names: of the features: `AGEP`, or column and category, `COW=1`.
        columns: `[row, column]`, int64, the number of the feature that is not zero; numbers have one each.
        values: `[row, column]`, float32: standardised numbers, and 1 for a category.
    """

    names: tuple[str, ...]
    columns: Tensor
    values: Tensor

    @classmethod
    def of(cls, table: Table, train: np.ndarray, standardise: bool = True) -> Features:
        """Encode all rows of the table.

        Args:
            table: what to encode.
            train: `[train]`, numbers of the training rows, which give mean and standard deviation of the numbers and,
                where the table doesn't name them, the categories.
            standardise: bring numbers to mean 0 and deviation 1; otherwise they stay as they are.

        Returns:
            The features of all rows.

        Raises:
            UserError: where a test row has a category that no training row has, or all training rows have one value.
        """
        import pandas as pd

        plain = [name for name in table.inputs if name not in table.categories]
        names, columns, values = list(plain), [], []
        if plain:
            raw = table.inputs[plain].to_numpy()
            _check_spread(plain, raw[train])
            values.append(scaled(plain, raw, train, standardise))
            columns.append(np.broadcast_to(np.arange(len(plain)), raw.shape))
        for name in (name for name in table.inputs if name in table.categories):
            cells, known = table.inputs[name].to_numpy(), table.categories[name]
            known = np.unique(cells[train]) if known is None else known
            codes = pd.Index(known).get_indexer(pd.Index(cells))
            _check_known(name, cells, codes)
            columns.append((len(names) + codes)[:, None])
            values.append(np.ones((len(cells), 1)))
            names += [f"{name}={cell_text(category)}" for category in known]
        return cls(
            tuple(names),
            torch.from_numpy(np.hstack(columns).astype("int64")),
            torch.from_numpy(np.hstack(values).astype("float32")),
        )

    def sparse(self) -> dict[str, Tensor]:
        """The rows as a mapping, `columns` and `values`."""
        return {"columns": self.columns, "values": self.values}

    def dense(self) -> Tensor:
        """The same rows as a matrix `[row, feature]`, float32."""
        return torch.zeros(len(self.values), len(self.names)).scatter_(1, self.columns, self.values)


def scaled(names: Sequence[str], raw: np.ndarray, train: np.ndarray, standardise: bool) -> np.ndarray:
    """Columns of numbers as a network takes them.

    Args:
        names: of the columns.
        raw: `[row, column]`, float64.
        train: numbers of the training rows, which give mean and standard deviation.
        standardise: bring the columns to mean 0 and deviation 1; otherwise they stay as they are.

    Returns:
        `[row, column]`, float64.

    Raises:
        UserError: naming a column whose numbers single precision can't hold.
    """
    from sklearn.preprocessing import StandardScaler

    values, spread = raw, np.ones(len(names))
    with np.errstate(over="ignore", invalid="ignore"):
        if standardise:
            scaler = StandardScaler().fit(raw[train])
            values, spread = scaler.transform(raw), scaler.scale_
        bad = ~np.isfinite(values.astype("float32")).all(0) | ~np.isfinite(spread)
    if bad.any():
        column = int(np.argmax(bad))
        largest = raw[np.abs(raw[:, column]).argmax(), column]
        raise UserError(
            f"Column '{names[column]}' has numbers as large as {largest:g}, which single precision can't hold: mend "
            "them (a sign for a missing value, perhaps), take their logarithm, or drop the column."
        )
    return values


def _check_spread(names: list[str], values: np.ndarray) -> None:
    for name, column in zip(names, values.T, strict=True):
        if (column == column[0]).all():
            raise UserError(
                f"Column '{name}' has the one value {cell_text(column[0])} in all {len(column)} training rows, which "
                "tells nothing: drop it, or choose another data.random_state."
            )


def _check_known(name: str, cells: np.ndarray, codes: np.ndarray) -> None:
    unknown = cells[codes < 0]
    if len(unknown):
        raise UserError(
            f"Column '{name}' has the category {cell_text(unknown[0])!r} in the test split ({len(unknown)} test rows "
            "have one that no training row has): merge it with another category, remove these rows, or drop the column."
        )
