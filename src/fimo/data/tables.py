"""Tables before they are encoded: from workbooks and from scikit-learn."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fimo.data.download import fetch
from fimo.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def cell_text(value: object) -> str:
    """A cell as people write it: whole numbers without a point, others with six digits."""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:g}"
    return str(value)


def lines_of(index: pd.Index, what: str = "line") -> np.ndarray:
    """What people call the rows of a sheet below one line of names: the first is `line 2`.

    Args:
        index: `[row]`, numbers of the rows from 0, as pandas reads them.
        what: `line` of a text file, `row` of a workbook.

    Returns:
        A text for each row, `[row]`.
    """
    return np.array([f"{what} {number + 2}" for number in index])


@dataclass(frozen=True)
class Table:
    """Columns and targets before they are split, scaled and encoded.

    Attributes:
        inputs: `[row, column]`; columns of numbers are float64.
        targets: `[row]`, numbers or labels of classes (text, whole numbers, booleans); several by their names.
        target: what the targets are called, where there is one.
        categories: the categorical columns, each with its categories in order, or None for those of the training split.
        others: columns that are no inputs, by which rows can be grouped all the same, `[row]` each.
        weights: how often each row counts in training, with a name; None where each counts once.
        names: what people call each row, `line 12` or `id A17`, `[row]`; None where the number says it all.
        in_test: which rows are the test split, `[row]`; None for a table without a split of its own.
    """

    inputs: pd.DataFrame
    targets: np.ndarray | Mapping[str, np.ndarray]
    target: str = "target"
    categories: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    weights: pd.Series | None = None
    names: np.ndarray | None = None
    in_test: np.ndarray | None = None

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """All columns by name, the targets and the weight too, `[row]` each."""
        inputs = {str(name): column.to_numpy() for name, column in self.inputs.items()}
        weights = {} if self.weights is None else {str(self.weights.name): self.weights.to_numpy()}
        return {**inputs, **self.others, **self.targets_by_name, **weights}

    @property
    def targets_by_name(self) -> Mapping[str, np.ndarray]:
        """Each target's values `[row]`."""
        return {self.target: self.targets} if isinstance(self.targets, np.ndarray) else self.targets

    def display(self, row: int, training: bool = True, label: str | None = None) -> str:
        """A row as people read it, in its own units: `Y1: 15.55; X1 0.98, X2 514.5, …`, categories as `COW=1`.

        Several targets come one after the other, and a weight at the end: `a: 1, b: 0; X1 0.98; weight w 2`.

        Args:
            row: of the table.
            training: whether the row is trained on, where its weight counts.
            label: in place of the targets; None for these.
        """
        cells = (
            f"{name}{'=' if name in self.categories else ' '}{cell_text(column.iloc[row])}"
            for name, column in self.inputs.items()
        )
        targets = (f"{name}: {label or cell_text(values[row])}" for name, values in self.targets_by_name.items())
        weights = self.weights if training else None
        weight = [] if weights is None else [f"weight {weights.name} {cell_text(weights.iloc[row])}"]
        return "; ".join([", ".join(targets), ", ".join(cells), *weight])


@dataclass(frozen=True)
class Workbook:
    """A table of numbers in the first sheet of an Excel workbook, downloaded once into the data folder.

    Attributes:
        file: path below the data folder.
        url: where the provider has it.
        page: where a person can get it.
        inputs: names of the input columns; runs of white space count as one space.
        target: name of the target column.
        unused: further columns that the published table has.
        rows: how many the published table has, or None to take any number.
        sha256: of the published table's float64 values (inputs, target and unused columns in that order), or None.
    """

    file: str
    url: str
    page: str
    inputs: Sequence[str]
    target: str
    unused: Sequence[str] = ()
    rows: int | None = None
    sha256: str | None = None

    def read(self, data_dir: Path) -> Table:
        """The table, every cell of it checked.

        Raises:
            UserError: where a column or a number is missing, or the values are not the published ones; `Unavailable`
                where the file can't be had.
        """
        table = self._parse(fetch(data_dir / self.file, self.url, self.page, self._parse))
        names = lines_of(table.index, "row")
        return Table(table[list(self.inputs)], table[self.target].to_numpy(), self.target, names=names)

    def _parse(self, path: Path) -> pd.DataFrame:
        import pandas as pd
        from python_calamine import CalamineError

        try:
            sheet = pd.read_excel(path, engine="calamine")
        except (CalamineError, ValueError, OSError) as reason:
            raise UserError(f"{path} is not an Excel workbook that can be read ({reason}): get it anew.") from reason
        sheet = sheet.rename(columns=lambda name: " ".join(str(name).split()))
        table = to_float64(select_columns(sheet, [*self.inputs, self.target, *self.unused], path), path)
        check_published(table, path, self.page, self.rows, self.sha256)
        return table


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV file with names in its first line; no column is taken for an index.

    Raises:
        ValueError: for a file that is no text or no table, or has rows of different lengths.
    """
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # given where cells beyond the last name would be lost
        try:
            return pd.read_csv(path, index_col=False, low_memory=False)
        except pd.errors.ParserWarning as warning:
            raise ValueError(str(warning)) from warning


def select_columns(sheet: pd.DataFrame, wanted: list[str], path: Path) -> pd.DataFrame:
    """The wanted columns of a sheet, in the wanted order.

    Args:
        sheet: any table.
        wanted: names of columns.
        path: of the file that the sheet was read from, for the error.

    Returns:
        `[row, wanted column]`.

    Raises:
        UserError: where the sheet lacks one.
    """
    if missing := [name for name in wanted if name not in sheet]:
        raise UserError(f"{path} lacks the columns {missing}: expected {wanted}, found {list(sheet)}.")
    return sheet[wanted]


def to_float64(sheet: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The sheet as float64, every cell a finite number.

    Args:
        sheet: any table.
        path: of the file that the sheet was read from, for the error.

    Returns:
        The same rows and columns.

    Raises:
        UserError: naming the first cell that is no finite number, as a spreadsheet counts rows.
    """
    import pandas as pd

    table = sheet.apply(partial(pd.to_numeric, errors="coerce")).astype("float64")
    bad = np.argwhere(~np.isfinite(table.to_numpy()))
    if len(bad):
        row, column = bad[0]
        value = sheet.iloc[row, column]
        cell = "an empty cell" if pd.isna(value) else repr(value)
        raise UserError(
            f"{path} must hold numbers, found {cell} in row {row + 2} of column "
            f"'{table.columns[column]}' ({len(bad)} such cells): mend or remove these rows."
        )
    return table


def check_published(table: pd.DataFrame, path: Path, page: str, rows: int | None, sha256: str | None) -> None:
    """Compare numbers with the published table, as far as something is known of it.

    Args:
        table: `[row, column]`, float64, the columns in the order in which they were hashed.
        path: of the file that the table was read from, for the error.
        page: where a person can get the published table, for the error.
        rows: how many rows the published table has; None to take any number.
        sha256: of the published table's values as little-endian float64, row after row; None to take any.

    Raises:
        UserError: where the number of rows or the values are others.
    """
    if rows is not None and len(table) != rows:
        raise UserError(f"{path} has {len(table)} rows, expected {rows}: get the whole file from {page}.")
    digest = hashlib.sha256(np.ascontiguousarray(table.to_numpy(), dtype="<f8").tobytes()).hexdigest()
    if sha256 is not None and digest != sha256:
        raise UserError(
            f"{path} holds other numbers than the published table (SHA-256 of its values {digest[:8]}…, expected "
            f"{sha256[:8]}…): get it from {page}, or accept it with data.source.sha256=null."
        )


@dataclass(frozen=True)
class Bundled:
    """A table inside scikit-learn: no download.

    Attributes:
        loader: name of a `load_…` function of `sklearn.datasets`.
    """

    loader: str

    def read(self, data_dir: Path) -> Table:
        """The table; `data_dir` is not needed."""
        import pandas as pd
        import sklearn.datasets

        bunch = getattr(sklearn.datasets, self.loader)()
        inputs = pd.DataFrame(bunch.data.astype("float64"), columns=list(map(str, bunch.feature_names)))
        return Table(inputs, bunch.target, names=np.array([f"row {row}" for row in range(len(inputs))]))
