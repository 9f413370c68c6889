"""Columns of a table of one's own: numbers, categories, targets and weights, every cell of them checked."""

from __future__ import annotations

import logging
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fimo.data.tables import cell_text
from fimo.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

DROP = "drop it with 'data.source.drop=[\"{}\"]'"
# With more values than this, and in so large a share of the rows, a column of text is no category.
MANY, SHARE = 20, 0.5
# Numbers with a currency, a per cent sign or separators in them: $1,200 and 35 % and 1 200.
_SIGN = r"(?:[A-Z]{0,2}[$¢-¥฿₠-₿]|USD|EUR|GBP|CHF|JPY)?"
FORMATTED = re.compile(rf"{_SIGN}\s*[-+]?{_SIGN}\s*\d[\d.,' \u00a0\u202f]*\s*(?:%|{_SIGN})")
DATE = re.compile(r".*\d.*[-/.:].*\d.*")


@dataclass(frozen=True)
class ColumnReader:
    """Reads the columns of one file.

    Attributes:
        path: of the file, for errors.
        rows: what people call its rows, for errors, `[row]`.
        written: a column's cells as the file has them, see `Sheet`.
    """

    path: Path
    rows: np.ndarray
    written: Callable[[str], np.ndarray]

    def require_values(self, sheet: pd.DataFrame) -> None:
        """Refuse cells without a value, for which there is no rule.

        Args:
            sheet: the columns that are used.

        Raises:
            UserError: naming the first one.
        """
        missing = sheet.isna()
        if empty := [name for name in sheet if missing[name].all()]:
            raise UserError(f"{self.path} has no value at all in column '{empty[0]}': {DROP.format(empty[0])}.")
        if missing.to_numpy().any():
            row, column = np.argwhere(missing.to_numpy())[0]
            gaps = (self.written(str(name))[missing[name].to_numpy()] for name in sheet if missing[name].any())
            text = next((cell for cells in gaps for cell in cells if cell), None)
            way_on = "remove their rows or columns"
            if text is not None:
                way_on += f", or add 'data.source.missing=[]' where {text!r} is a value"
            raise UserError(
                f"{self.path} must have a value in every cell, found {missing.to_numpy().sum()} missing (empty, NA, "
                f"None, nan …), the first in {self.rows[row]}, column '{sheet.columns[column]}': fill these cells, "
                f"{way_on}."
            )

    def input(self, column: pd.Series, categorical: bool) -> pd.Series:
        """An input: float64, or categories as they are.

        Args:
            column: of the table.
            categorical: whether it was named as such.

        Raises:
            UserError: where it is neither, tells nothing, or would have a category for almost every row.
        """
        import pandas as pd
        from pandas.api import types

        plain, name = self._plain(column), str(column.name)
        if (plain == plain.iloc[0]).all():
            raise UserError(
                f"{self.path} has the one value {cell_text(plain.iloc[0])!r} in all rows of column '{name}', which "
                f"tells nothing: {DROP.format(name)}."
            )
        if categorical or types.is_bool_dtype(plain):
            return plain.astype(object)
        if types.is_numeric_dtype(plain):
            return plain.astype("float64")
        text = pd.to_numeric(plain, errors="coerce").isna()
        if not 0 < text.sum() <= SHARE * len(text):  # else the few cells of text are what has to be mended
            self._require_categories(plain, name)
        if not text.all():
            row = int(np.argmax(text))
            raise UserError(
                f"{self.path} has numbers and text in column '{name}' ({text.sum()} of {len(text)} cells are text, the "
                f"first {plain.iloc[row]!r} in {self.rows[row]}): mend these cells, or make each value a category with "
                f"'data.source.categorical=[\"{name}\"]'."
            )
        return plain

    def _require_categories(self, plain: pd.Series, name: str) -> None:
        """Refuse text that is no category: numbers with signs, dates, ids, sentences. Point at likely misspellings."""
        import pandas as pd

        values = list(dict.fromkeys(str(cell).strip() for cell in plain))
        first, named = values[0], f"'data.source.categorical=[\"{name}\"]'"
        if all(map(FORMATTED.fullmatch, values)) and not all(re.fullmatch(r"[\d.+-]+", value) for value in values):
            raise UserError(
                f"{self.path} has texts in column '{name}' that look like numbers ({first!r}): write them as 1234.5, "
                f"give data.source.decimal, {DROP.format(name)}, or make each a category with {named}."
            )
        if pd.to_numeric(plain, errors="coerce").notna().all():
            raise UserError(
                f"{self.path} has numbers as text in column '{name}' ({first!r} in {self.rows[0]}), in quotes or with "
                f"another decimal sign than the rest: mend them, {DROP.format(name)}, or make each a category with "
                f"{named}."
            )
        if len(values) == len(plain) > 3 or len(values) > max(MANY, SHARE * len(plain)):
            what, remedy = ("texts", f"name rows by it with 'data.source.id=\"{name}\"' where it tells them apart")
            if _are_dates(values):
                what, remedy = "dates", "write them as a number of days"
            raise UserError(
                f"{self.path} has {len(values)} different {what} in the {len(plain)} rows of column '{name}' (such as "
                f"{first!r}), each of which would become an input: {DROP.format(name)}, {remedy}, or make each a "
                f"category with {named}."
            )
        warn_of_spellings(plain, f"{self.path}: column '{name}' has the categories")

    def _plain(self, column: pd.Series) -> pd.Series:
        """The column as numbers, booleans or text."""
        import pandas as pd
        from pandas.api import types

        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(column.cat.categories.dtype)
        if types.is_bool_dtype(column):
            return column.astype(bool)
        if (kind := types.infer_dtype(column)) == "decimal":
            column = column.astype("float64")
        if types.is_numeric_dtype(column) and not types.is_complex_dtype(column):
            numbers = column.astype("int64" if types.is_signed_integer_dtype(column) else "float64")
            if (wrong := ~np.isfinite(numbers.to_numpy())).any():
                row = int(np.argmax(wrong))
                raise UserError(
                    f"{self.path} must hold finite numbers, found {numbers.iloc[row]} in {self.rows[row]} of column "
                    f"'{column.name}' ({wrong.sum()} such cells): mend them."
                )
            return numbers
        if kind not in ("string", "boolean"):
            dates = ", a number of days where these are dates" if kind in ("datetime64", "datetime", "date") else ""
            types_of = column.map(type)
            other = int(np.argmax(types_of != types_of.mode()[0]))
            where = f" ({column.iloc[other]!r} in {self.rows[other]})" if types_of.nunique() > 1 else ""
            raise UserError(
                f"{self.path} must hold numbers, text or booleans, found '{kind}' in column '{column.name}'{where}: "
                f"make it one of these{dates}, or {DROP.format(column.name)}."
            )
        return column.astype(bool if kind == "boolean" else object)

    def target(self, column: pd.Series) -> np.ndarray:
        """The target: whole numbers, which may be classes, as integers; other numbers as float64; text and booleans."""
        plain = self._plain(column).to_numpy()
        integral = plain.dtype.kind == "f" and (plain == np.round(plain)).all() and (np.abs(plain) < 2**53).all()
        return plain.astype("int64") if integral else plain

    def weights(self, column: pd.Series) -> pd.Series:
        """How often each row counts: numbers of at least 0.

        Args:
            column: of the table.

        Raises:
            UserError: naming the first cell that is something else.
        """
        import pandas as pd

        plain = self._plain(column)
        wrong = ~(pd.to_numeric(plain, errors="coerce") >= 0)
        wrong |= plain.dtype == object and not wrong.any()  # numbers that are stored as text
        if wrong.any():
            row = int(np.argmax(wrong))
            raise UserError(
                f"data.source.weight needs numbers of at least 0, found {cell_text(plain.iloc[row])!r} in "
                f"{self.rows[row]} of column '{column.name}' of {self.path} ({wrong.sum()} such cells): mend them."
            )
        return plain.astype("float64")


def warn_of_spellings(texts: Iterable[object], what: str) -> None:
    """Log categories that differ in case or surrounding spaces only, the first of them.

    Args:
        texts: the categories.
        what: has them, for the log: `column 'x' has the categories`.
    """
    alike = defaultdict(list)
    for value in dict.fromkeys(map(str, texts)):
        alike[value.strip().casefold()].append(value)
    if several := next((spellings for spellings in alike.values() if len(spellings) > 1), None):
        logger.warning("%s %s, which differ in case or spaces only", what, " and ".join(map(repr, several)))


def _are_dates(values: list[str]) -> bool:
    import pandas as pd

    if not all(map(DATE.fullmatch, values)):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of days before months
        return bool(pd.to_datetime(pd.Series(values), errors="coerce", format="mixed").notna().all())
