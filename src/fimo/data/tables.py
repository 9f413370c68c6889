"""Tables of numbers, from workbooks and from scikit-learn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn.datasets
from python_calamine import CalamineError

from fimo.data.download import fetch
from fimo.errors import UserError


@dataclass(frozen=True)
class Table:
    """Inputs `[row, feature]` as float64 and targets `[row]`: float64 for regression, class numbers otherwise."""

    inputs: np.ndarray
    targets: np.ndarray
    features: tuple[str, ...]


@dataclass(frozen=True)
class Workbook:
    """A table of numbers in the first sheet of an Excel workbook, fetched from its provider where it isn't there.

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
            UserError: where the file, a column or a number is missing, or the values are not the published ones.
        """
        table = self._parse(fetch(data_dir / self.file, self.url, self.page, self._parse))
        names = list(self.inputs)
        return Table(table[names].to_numpy(), table[self.target].to_numpy(), tuple(names))

    def _parse(self, path: Path) -> pd.DataFrame:
        try:
            sheet = pd.read_excel(path, engine="calamine")
        except (CalamineError, ValueError, OSError) as reason:
            raise UserError(f"{path} is not an Excel workbook that can be read ({reason}): get it anew.") from reason
        sheet = sheet.rename(columns=lambda name: " ".join(str(name).split()))
        wanted = [*self.inputs, self.target, *self.unused]
        if missing := [name for name in wanted if name not in sheet]:
            raise UserError(f"{path} lacks the columns {missing}: expected {wanted}, found {list(sheet)}.")
        table = _numbers(sheet[wanted], path)
        if self.rows is not None and len(table) != self.rows:
            raise UserError(f"{path} has {len(table)} rows, expected {self.rows}: get the whole file from {self.page}.")
        digest = hashlib.sha256(np.ascontiguousarray(table.to_numpy(), dtype="<f8").tobytes()).hexdigest()
        if self.sha256 is not None and digest != self.sha256:
            raise UserError(
                f"{path} holds other numbers than the published table (SHA-256 of its values {digest[:8]}…, expected "
                f"{self.sha256[:8]}…): get it from {self.page}, or accept it with data.source.sha256=null."
            )
        return table


def _numbers(sheet: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The sheet as float64; an error names the first cell that is no number, as a spreadsheet counts rows."""
    table = sheet.apply(partial(pd.to_numeric, errors="coerce")).astype("float64")
    bad = np.argwhere(~np.isfinite(table.to_numpy()))
    if len(bad):
        row, column = bad[0]
        value = sheet.iloc[row, column]
        found = "an empty cell" if pd.isna(value) else repr(value)
        raise UserError(
            f"{path} must hold numbers, found {found} in row {row + 2} of column "
            f"'{table.columns[column]}' ({len(bad)} such cells): mend or remove these rows."
        )
    return table


@dataclass(frozen=True)
class Bundled:
    """A table inside scikit-learn: no download.

    Attributes:
        loader: name of a `load_…` function of `sklearn.datasets`.
    """

    loader: str

    def read(self, data_dir: Path) -> Table:
        """The table; `data_dir` is not needed."""
        bunch = getattr(sklearn.datasets, self.loader)()
        return Table(bunch.data.astype("float64"), bunch.target, tuple(map(str, bunch.feature_names)))
