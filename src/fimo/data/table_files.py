"""Files of tables as people have them: CSV with any separator, JSON lines, Parquet, each text also compressed."""

from __future__ import annotations

import csv
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fimo.data.text_files import COMPRESSED, JSON_LINES, PARQUET, decoded, ending, json_lines
from fimo.errors import UserError, short

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

TEXT = (".csv", ".tsv", ".txt")
# In this order where a line of names has equally many of them.
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# A number in a file with decimal commas: 1,5 and 1.234,5 and 1.234, but no date, no version and no 0.125.
WITH_COMMA = re.compile(r"\s*[-+]?(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?([eE][-+]?\d+)?\s*")
# A name of a column that may be a value of the first row.
NUMBER = re.compile(r"\s*[-+]?\d*[.,]?\d+(e[-+]?\d+)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Sheet:
    """A table as it stands in a file.

    Attributes:
        table: `[row, column]`, its index from 0; columns are called by text.
        rows: what people call each row, `line 12` of a text file or `row 12` of a Parquet file, `[row]`.
        written: a column's cells as they are written, `[row]`, text; nothing for a cell without a value.
    """

    table: pd.DataFrame
    rows: np.ndarray
    written: Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Format:
    """How a text file of a table is written; None where the file itself tells it.

    Attributes:
        separator: between cells, or None: by the ending (`.tsv`), or what is most frequent in the line of names.
        decimal: `.` or `,`, or None: commas where cells are separated by something else and a column has no other
            numbers than such as 1,5.
        encoding: of the text, as Python calls it.
        missing: texts that mean that there is no value beside nothing at all; None for pandas' list.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str = "utf-8"
    missing: Sequence[str] | None = None

    def read(self, path: Path) -> Sheet:
        """The table in a file.

        Args:
            path: of the file, which ends in `.csv`, `.tsv`, `.txt`, `.jsonl` or `.ndjson`, also compressed (`.gz`,
                `.bz2`, `.xz`, `.zip`), or in `.parquet`.

        Raises:
            UserError: where the file isn't there or can't be read, and for a name that two columns have.
        """
        import pyarrow

        kind = ending(path)
        if kind not in (*TEXT, *JSON_LINES, PARQUET):
            raise UserError(
                f"data.source.file must end in {', '.join((*TEXT, *JSON_LINES))} (also with "
                f"{', '.join(COMPRESSED)}) or {PARQUET}, found {str(path)!r}."
            )
        if not path.is_file():
            raise UserError(f"data.source.file must be a file of a table, found none at {path}.")
        read = self._parquet if kind == PARQUET else self._json_lines if kind in JSON_LINES else self._csv
        try:
            return read(path)
        except (ValueError, OSError, csv.Error, pyarrow.ArrowException) as reason:
            name = "JSON lines" if kind in JSON_LINES else f"a {'parquet' if kind == PARQUET else 'CSV'} table"
            raise UserError(f"{path} can't be read as {name} ({short(reason)}): mend the file.") from reason

    def _csv(self, path: Path) -> Sheet:
        text = decoded(path, self.encoding)
        separator = self._separator(text, path)
        lines = _lines(text, separator)
        _, header = next(lines, (0, []))
        _require_names([name.strip() for name in header], path)
        if sum(bool(NUMBER.fullmatch(name)) for name in header) > len(header) / 2:
            logger.warning("%s: its first line is taken for the names of columns, and most of them are numbers (%s): "
                           "where it is a row, write a line of names above it", path, ", ".join(header))  # fmt: skip
        numbers = [number for number, _ in lines]
        table = self._table(text, separator, self.decimal or ".")
        if self.decimal is None and separator != ",":
            with_commas = [name for name in table if _has(",", table[name])]
            if with_commas:
                logger.info("%s: numbers as 1,5 are read with decimal commas (column '%s')", path, with_commas[0])
                table = self._table(text, separator, ",")

        def written(name: str) -> np.ndarray:
            texts = self._table(text, separator, ".", dtype=str, na_filter=False)[name]
            return texts.str.strip().to_numpy(dtype=object)

        if len(numbers) != len(table):  # pandas has skipped a line that csv has not
            return Sheet(table, np.array([f"row {row}" for row in range(len(table))], dtype=object), written)
        return Sheet(table, np.array([f"line {number}" for number in numbers], dtype=object), written)

    def _separator(self, text: str, path: Path) -> str:
        if self.separator is not None:
            return self.separator
        first = next((line for line in text.split("\n") if line.strip()), "")
        unquoted = re.sub(r'"[^"]*"', "", first)
        chosen = "\t" if ending(path) == ".tsv" else max(SEPARATORS, key=unquoted.count)
        if chosen != "," and ending(path) != ".tsv":
            logger.info("%s: cells are separated by %s (data.source.separator)", path, SEPARATORS[chosen])
        return chosen

    def _table(self, text: str, separator: str, decimal: str, **more: Any) -> pd.DataFrame:
        import pandas as pd

        # Texts that are no value: with a list of one's own an empty cell has none all the same.
        missing: dict[str, Any] = {}
        if self.missing is not None:
            missing = {"keep_default_na": False, "na_values": ["", *self.missing]}
        options: dict[str, Any] = {"sep": separator, "decimal": decimal, **missing, **more}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # where cells beyond the last name would be lost
            try:
                table = pd.read_csv(
                    io.StringIO(text), index_col=False, low_memory=False, skipinitialspace=separator != "\t", **options
                )
            except pd.errors.ParserWarning as warning:
                raise ValueError(str(warning)) from warning
        table = table.rename(columns=lambda name: str(name).strip())
        # Not by pandas' own `thousands`, which makes a number of every text of digits and points: 1.2.3, 07.08.2020.
        for name in [name for name in table if decimal == "," and _has(".", table[name])]:
            logger.info("numbers as 1.234 are read with points between thousands (column '%s')", name)
            plain = table[name].str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
            table[name] = pd.to_numeric(plain)
        return table

    def _json_lines(self, path: Path) -> Sheet:
        import pandas as pd

        entries, lines = [], []
        for number, entry in json_lines(decoded(path, self.encoding)):
            if not isinstance(entry, dict) or any(isinstance(value, (dict, list)) for value in entry.values()):
                raise ValueError(f"line {number} is no object of numbers, texts and booleans")
            entries.append(entry)
            lines.append(f"line {number}")
        return self._typed(pd.DataFrame(entries).rename(columns=str), lines)

    def _parquet(self, path: Path) -> Sheet:
        import pandas as pd
        import pyarrow.parquet

        names = pyarrow.parquet.read_schema(path).names
        _require_names([name for name in names if not re.fullmatch("__index_level_.*__", name)], path)
        table = pd.read_parquet(path)
        index = [] if isinstance(table.index, pd.RangeIndex) else list(table.index.names)
        if named := [name for name in index if name is not None]:
            logger.info("%s: the index %s is read as columns", path, ", ".join(map(str, named)))
        if nameless := [level for level, name in enumerate(index) if name is None]:
            # What is left of row numbers where rows were filtered or shuffled: as a column it would become an input.
            logger.info("%s: the index without a name is not read: name it to have it as a column", path)
        if named and nameless:
            table.index = table.index.droplevel(nameless)
        table = table.reset_index(drop=not named).rename(columns=str)
        return self._typed(table, [f"row {row}" for row in range(len(table))])

    def _typed(self, table: pd.DataFrame, rows: Sequence[str]) -> Sheet:
        """A table whose file knows the types of its cells; only texts of one's own mean that there is no value."""
        read = table.copy(deep=False)
        for name in read if self.missing else []:
            if (hit := table[name].isin(list(self.missing or []))).any():
                read[name] = table[name].where(~hit)

        def written(name: str) -> np.ndarray:
            return np.array([_exact_text(cell) for cell in table[name].astype(object)], dtype=object)

        return Sheet(read, np.array(rows, dtype=object), written)


def _require_names(names: Sequence[str], path: Path) -> None:
    """Refuse a name that two columns have, which pandas would change."""
    if twice := [name for name in names if names.count(name) > 1 and name]:
        raise UserError(f"{path} must have a name of its own for each column, found {twice[0]!r} twice: rename one.")


def _lines(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the first line of each row, from 1, and the row's cells; cells may have line breaks in quotes."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # pandas has no limit
    reader, first = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True), 1
    for cells in reader:
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield first, cells
        first = reader.line_num + 1


def _has(sign: str, column: pd.Series) -> bool:
    """Whether a column of text has nothing but numbers as 1,5 and 1.234, some of them with this sign."""
    from pandas.api import types

    if types.is_numeric_dtype(column):
        return False
    cells = [str(cell) for cell in column.dropna()]
    return any(sign in cell for cell in cells) and all(map(WITH_COMMA.fullmatch, cells))


def _exact_text(cell: Any) -> str:
    """A cell with all its digits, so that cells that differ have texts that differ; nothing without a value."""
    import pandas as pd

    if not isinstance(cell, (list, dict, np.ndarray)) and pd.isna(cell):
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
