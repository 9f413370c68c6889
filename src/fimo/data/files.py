"""Table files of one's own: CSV or Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fimo.data.tables import Table, cell_text, read_csv
from fimo.errors import UserError, short

if TYPE_CHECKING:
    import pandas as pd

DROP = "drop it with data.source.drop=['{}']"


@dataclass(frozen=True)
class TableFile:
    """A table in a CSV file (commas, names in the first line) or a Parquet file.

    Columns of text, booleans and categories are categorical, all others must be numbers. There is no rule for what to
    do where values are missing, so none may be.

    Attributes:
        file: path, absolute or below the data folder (of `data=csv`, that is the working directory).
        target: name of the target column, or a list of several.
        categorical: further columns that are categorical, such as codes.
        drop: columns to leave out.
        sha256: of the file, or None to take any.
        weight: name of a column that is no input but says how often each row counts in training; None for none.
    """

    file: str
    target: str | Sequence[str]
    categorical: Sequence[str] = ()
    drop: Sequence[str] = ()
    sha256: str | None = None
    weight: str | None = None

    @property
    def target_names(self) -> list[str]:
        """Names of the target columns."""
        return [self.target] if isinstance(self.target, str) else list(self.target)

    def read(self, data_dir: Path) -> Table:
        """The table, every column of it checked.

        Raises:
            UserError: where the file can't be read, or a column can't be an input or the target.
        """
        import pandas as pd

        path = data_dir / self.file
        table = _read(path)
        table.columns = [str(name) for name in table]  # Parquet may have numbers as names
        self._check_sha256(path)
        self._check_names(table, path)
        sheet = table.drop(columns=list(self.drop))
        if sheet.empty:
            raise UserError(f"{path} must hold rows below the names of its columns, found none.")
        targets = self.target_names
        inputs = sheet.drop(columns=[*targets, *([] if self.weight is None else [self.weight])])
        if inputs.columns.empty:
            raise UserError(
                f"{path} must hold an input column, found the target{'s' * (len(targets) > 1)} '{', '.join(targets)}' "
                f"alone{'' if self.weight is None else f', with the weight {self.weight!r}'}."
            )
        _check_missing(sheet, path)
        columns = {name: _column(column, name in self.categorical, path) for name, column in inputs.items()}
        categories = dict.fromkeys(str(name) for name, column in columns.items() if column.dtype.kind not in "f")
        categories |= dict.fromkeys(self.categorical)
        values = {name: _target(sheet[name], path) for name in targets}
        several = len(targets) > 1
        return Table(
            pd.DataFrame(columns),
            values if several else values[targets[0]],
            "" if several else targets[0],
            categories,
            {name: table[name].to_numpy() for name in self.drop},
            None if self.weight is None else _weights(sheet[self.weight], path),
        )

    def _check_sha256(self, path: Path) -> None:
        if self.sha256 is not None and (digest := hashlib.sha256(path.read_bytes()).hexdigest()) != self.sha256:
            raise UserError(
                f"{path} must have the data.source.sha256 {self.sha256}, found {digest}: use null to take any."
            )

    def _check_names(self, sheet: pd.DataFrame, path: Path) -> None:
        columns = [str(name) for name in sheet]
        weight, targets = [] if self.weight is None else [self.weight], self.target_names
        settings = {"target": targets, "drop": self.drop, "categorical": self.categorical, "weight": weight}
        for key, names in settings.items():
            if missing := [name for name in names if name not in columns]:
                raise UserError(
                    f"data.source.{key} must name columns of {path}, found {missing[0]!r}: it has {', '.join(columns)}."
                )
        if not targets or len(set(targets)) < len(targets):
            raise UserError(f"data.source.target must name one column, or several once each, found {targets}.")
        if both := [name for name in targets if name in (*self.drop, *self.categorical)]:
            raise UserError(f"data.source.drop and data.source.categorical must not name the target, {both[0]!r}.")
        if self.weight in (*targets, *self.drop, *self.categorical):
            raise UserError(
                f"data.source.weight must name a column that is nothing else, found {self.weight!r}, which is named by "
                "data.source.target, drop or categorical too."
            )
        if nameless := [name for name in columns if name.startswith("Unnamed: ") and name not in self.drop]:
            raise UserError(
                f"{path} has a column without a name (row numbers, perhaps): {DROP.format(nameless[0])}, or name it."
            )


def _read(path: Path) -> pd.DataFrame:
    """The file as it is, its names checked."""
    import pandas as pd
    import pyarrow
    import pyarrow.parquet

    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise UserError(f"data.source.file must end in .csv or .parquet, found {str(path)!r}.")
    if not path.is_file():
        raise UserError(f"data.source.file must be a CSV or Parquet file, found none at {path}.")
    try:
        names = _csv_names(path) if kind == ".csv" else pyarrow.parquet.read_schema(path).names
        if twice := [name for name in names if names.count(name) > 1 and name]:
            raise UserError(
                f"{path} must have a name of its own for each column, found {twice[0]!r} twice: rename one."
            )
        return read_csv(path) if kind == ".csv" else pd.read_parquet(path).reset_index(drop=True)
    except (ValueError, OSError, pyarrow.ArrowException) as reason:
        message = short(reason)
        raise UserError(f"{path} can't be read as a {kind[1:]} table ({message}): mend the file.") from reason


def _csv_names(path: Path) -> list[str]:
    """The first line as it is: pandas would make names that occur twice different."""
    import pandas as pd

    return pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].tolist()


def _check_missing(sheet: pd.DataFrame, path: Path) -> None:
    missing = sheet.isna()
    if empty := [name for name in sheet if missing[name].all()]:
        raise UserError(f"{path} has no value at all in column '{empty[0]}': {DROP.format(empty[0])}.")
    if missing.to_numpy().any():
        row, column = np.argwhere(missing.to_numpy())[0]
        raise UserError(
            f"{path} must have a value in every cell, found {missing.to_numpy().sum()} missing (empty, NA, None, nan "
            f"…), the first in data row {row + 1}, column '{sheet.columns[column]}': fill these cells, or "
            "remove their rows or columns."
        )


def _column(column: pd.Series, categorical: bool, path: Path) -> pd.Series:
    """An input: float64, or categories as they are."""
    import pandas as pd
    from pandas.api import types

    plain = _plain(column, path)
    if (plain == plain.iloc[0]).all():
        raise UserError(
            f"{path} has the one value {cell_text(plain.iloc[0])!r} in all rows of column '{column.name}', which tells "
            f"nothing: {DROP.format(column.name)}."
        )
    if categorical or types.is_bool_dtype(plain):
        return plain.astype(object)
    if types.is_numeric_dtype(plain):
        return plain.astype("float64")
    text = pd.to_numeric(plain, errors="coerce").isna()
    if not text.all():
        row = int(np.argmax(text))
        raise UserError(
            f"{path} has numbers and text in column '{column.name}' ({text.sum()} of {len(text)} cells are text, the "
            f"first {plain[row]!r} in data row {row + 1}): mend these cells, or make each value a category "
            f"with data.source.categorical=['{column.name}']."
        )
    return plain


def _plain(column: pd.Series, path: Path) -> pd.Series:
    """The column as numbers, booleans or text."""
    import pandas as pd
    from pandas.api import types

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if types.is_bool_dtype(column):
        return column.astype(bool)
    if types.is_numeric_dtype(column) and not types.is_complex_dtype(column):
        numbers = column.astype("int64" if types.is_signed_integer_dtype(column) else "float64")
        if (wrong := ~np.isfinite(numbers)).any():
            raise UserError(
                f"{path} must hold finite numbers, found {numbers[wrong.idxmax()]} in data row {wrong.idxmax() + 1} "
                f"of column '{column.name}' ({wrong.sum()} such cells): mend them."
            )
        return numbers
    if (kind := types.infer_dtype(column)) not in ("string", "boolean"):
        raise UserError(
            f"{path} must hold numbers, text or booleans, found '{kind}' in column '{column.name}': make it one "
            f"of these, or {DROP.format(column.name)}."
        )
    return column.astype(bool if kind == "boolean" else object)


def _target(column: pd.Series, path: Path) -> np.ndarray:
    """The target: whole numbers, which may be classes, as integers; other numbers as float64; text and booleans."""
    plain = _plain(column, path).to_numpy()
    integral = plain.dtype.kind == "f" and (plain == np.round(plain)).all() and (np.abs(plain) < 2**53).all()
    return plain.astype("int64") if integral else plain


def _weights(column: pd.Series, path: Path) -> pd.Series:
    """How often each row counts: numbers of at least 0."""
    import pandas as pd

    plain = _plain(column, path)
    wrong = ~(pd.to_numeric(plain, errors="coerce") >= 0)
    wrong |= plain.dtype == object and not wrong.any()  # numbers that are stored as text
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"data.source.weight needs numbers of at least 0, found {cell_text(plain.iloc[row])!r} in data row "
            f"{row + 1} of column '{column.name}' of {path} ({wrong.sum()} such cells): mend them."
        )
    return plain.astype("float64")
