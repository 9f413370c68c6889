"""Table files of one's own: which columns are what, and which rows are the test split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from fimo.data.columns import DROP, ColumnReader
from fimo.data.table_files import Format, Sheet
from fimo.data.tables import Table, cell_text
from fimo.data.text_files import require_used
from fimo.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Name = str | int | float | bool


@dataclass(frozen=True)
class TableFile:
    """A table in a text file or a Parquet file (see `fimo.data.table_files`), names in the first line.

    Columns of text, booleans and categories are categorical, all others must be numbers. There is no rule for what to
    do where values are missing, so none may be.

    Attributes:
        file: path, absolute or below the data folder (of `data=csv`, that is the working directory).
        target: name of the target column, or a list of several.
        categorical: further columns that are categorical, such as codes.
        drop: columns to leave out.
        sha256: of the file, or None to take any.
        weight: name of a column that is no input but says how often each row counts in training; None for none.
        id: name of a column that is no input but what rows are called; None to call them by their lines.
        test_file: another file, with the test rows; None for a split of this one.
        split_column: name of a column that is no input but says which rows are the test split.
        split_test: what stands in that column for a test row.
        separator, decimal, encoding, missing: see `Format`.
    """

    file: str
    target: Name | Sequence[Name]
    categorical: Sequence[Name] = ()
    drop: Sequence[Name] = ()
    sha256: str | None = None
    weight: Name | None = None
    id: Name | None = None
    test_file: str | None = None
    split_column: Name | None = None
    split_test: Name = "test"
    separator: str | None = None
    decimal: str | None = None
    encoding: str = "utf-8"
    missing: Sequence[str] | None = None

    def read(self, data_dir: Path) -> Table:
        """The table, every column of it checked.

        Raises:
            UserError: where the file can't be read, or a column can't be an input or the target.
        """
        import pandas as pd

        path = data_dir / self.file
        sheet, in_test = self._sheet(data_dir)
        if self.sha256 is not None and (digest := hashlib.sha256(path.read_bytes()).hexdigest()) != self.sha256:
            raise UserError(
                f"{path} must have the data.source.sha256 {self.sha256}, found {digest}: use null to take any."
            )
        roles = self._roles(list(sheet.table), path)
        table = sheet.table.drop(columns=roles["drop"])
        if table.empty:
            raise UserError(f"{path} must hold rows below the names of its columns, found none.")
        targets, others = roles["target"], [*roles["weight"], *roles["id"], *roles["split_column"]]
        inputs = table.drop(columns=[*targets, *others])
        if inputs.columns.empty:
            raise UserError(
                f"{path} must hold an input column, found the target{'s' * (len(targets) > 1)} '{', '.join(targets)}' "
                f"alone{''.join(f', with {name!r}' for name in others)}."
            )
        reader = ColumnReader(path, sheet.rows, sheet.written)
        reader.require_values(table)
        columns = {name: reader.input(column, name in roles["categorical"]) for name, column in inputs.items()}
        categories = {str(name): None for name, column in columns.items() if column.dtype.kind not in "f"}
        values = {name: reader.target(table[name]) for name in targets}
        several = len(targets) > 1
        no_inputs = [*roles["drop"], *roles["id"], *roles["split_column"]]
        return Table(
            pd.DataFrame(columns),
            values if several else values[targets[0]],
            "" if several else targets[0],
            categories | dict.fromkeys(roles["categorical"]),
            {name: sheet.table[name].to_numpy() for name in no_inputs},
            reader.weights(table[roles["weight"][0]]) if roles["weight"] else None,
            _row_ids(sheet.written(roles["id"][0]), roles["id"][0], path) if roles["id"] else sheet.rows,
            self._marked(table[roles["split_column"][0]], path) if roles["split_column"] else in_test,
        )

    def _sheet(self, data_dir: Path) -> tuple[Sheet, np.ndarray | None]:
        """All rows of the file, or of both files and which of them are the test split."""
        import pandas as pd

        form = Format(self.separator, self.decimal, self.encoding, self.missing)
        paths = [data_dir / file for file in (self.file, self.test_file) if file is not None]
        require_used(vars(form), *paths)
        sheet = form.read(paths[0])
        if self.test_file is None:
            return sheet, None
        if self.split_column is not None:
            raise UserError("data.source.test_file and data.source.split_column both name the test split: choose one.")
        path = paths[1]
        test = form.read(path)
        if set(test.table) != set(sheet.table):
            different = sorted(set(test.table) ^ set(sheet.table))
            raise UserError(
                f"{path} must have the columns of {self.file}, found a difference in {', '.join(different)}."
            )
        names = np.array([f"{row} of {path.name}" for row in test.rows], dtype=object)
        both = pd.concat([sheet.table, test.table[list(sheet.table)]], ignore_index=True)
        in_test = np.repeat([False, True], [len(sheet.rows), len(test.rows)])

        def written(name: str) -> np.ndarray:
            return np.concatenate([sheet.written(name), test.written(name)])

        return Sheet(both, np.concatenate([sheet.rows, names]), written), in_test

    def _roles(self, columns: list[str], path: Path) -> dict[str, list[str]]:
        """The columns that each setting names, as they are called in the file.

        Raises:
            UserError: for a name that no column has, one that two settings give, and columns without a name.
        """
        roles: dict[str, list[str]] = {}
        for key in ("target", "drop", "categorical", "weight", "id", "split_column"):
            given = getattr(self, key)
            several = [] if given is None else [given] if isinstance(given, Name) else list(given)
            roles[key] = [_column_called(name, columns, f"data.source.{key}", path) for name in several]
        if not roles["target"] or len(set(roles["target"])) < len(roles["target"]):
            raise UserError(f"data.source.target must name one column, or several once each, found {roles['target']}.")
        first: dict[str, str] = {}
        for key, names in roles.items():
            for name in names:
                if first.setdefault(name, key) != key and {first[name], key} != {"drop", "categorical"}:
                    raise UserError(
                        f"data.source.{key} must name a column that is nothing else, found {name!r}, which "
                        f"data.source.{first[name]} names too."
                    )
        if nameless := [name for name in columns if name.startswith("Unnamed: ") and name not in roles["drop"]]:
            raise UserError(
                f"{path} has a column without a name (row numbers, perhaps): {DROP.format(nameless[0])}, or name it."
            )
        return roles

    def _marked(self, column: pd.Series, path: Path) -> np.ndarray:
        """Which rows the split column puts into the test split."""
        texts = np.array([cell_text(cell) for cell in column])
        values = sorted(set(texts.tolist()))
        wanted = cell_text(self.split_test)
        in_test = np.array([text.casefold() == wanted.casefold() for text in texts])
        if len(values) != 2 or not in_test.any():
            raise UserError(
                f"data.source.split_column must hold two values in {path}, one of them {wanted!r} for test rows "
                f"(data.source.split_test), found {', '.join(map(repr, values[:5]))}{', …' if values[5:] else ''}."
            )
        return in_test


def _column_called(name: Name, columns: list[str], key: str, path: Path) -> str:
    """The column that a setting names; YAML makes true of `yes`, and a number of `2`."""
    if str(name) in columns:
        return str(name)
    alike = [column for column in columns if not isinstance(name, str) and _is_read_as(column, name)]
    if len(alike) != 1:
        quoted = ""
        if not isinstance(name, str):
            quoted = f" (YAML changes names such as yes and 010: write '{key}=\"{(alike or ['…'])[0]}\"')"
        raise UserError(f"{key} must name columns of {path}, found {str(name)!r}: it has {', '.join(columns)}{quoted}.")
    return alike[0]


def _is_read_as(column: str, name: bool | int | float) -> bool:
    """Whether YAML or Hydra makes this value of a column's name; true is not 1."""
    try:
        values = [yaml.safe_load(column)]
    except yaml.YAMLError:
        return False
    if column.strip().isdecimal():
        values.append(int(column))  # 010 is eight for YAML and ten for Hydra
    return any(isinstance(value, bool) == isinstance(name, bool) and value == name for value in values)


def _row_ids(ids: np.ndarray, column: str, path: Path) -> np.ndarray:
    """What rows are called by a column, given its cells as they are written."""
    values, counts = np.unique(ids.astype(str), return_counts=True)
    if counts.max() > 1:
        raise UserError(
            f"data.source.id must name a column of {path} that tells rows apart, found '{values[counts.argmax()]}' "
            f"{counts.max()} times in '{column}'."
        )
    return np.array([f"id {name}" for name in ids], dtype=object)
