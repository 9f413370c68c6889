"""Files of sentences as cells: tab-separated lines, comma-separated ones, JSON lines, Parquet, each also compressed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fimo.data.text_files import JSON_LINES, PARQUET, decoded, ending, json_lines, require_used
from fimo.errors import UserError, short

# Sentences of a row at most: one, or a pair.
PAIR = 2
# A column by its name (or its number, where there are no names), several, or a choice by place.
Columns = str | int | Sequence[str | int] | None


@dataclass(frozen=True)
class Cells:
    """The cells of a file.

    Attributes:
        rows: each row's cells, as text; as many in every row as in `names`, where there are names.
        lines: the number of the line that each row begins in, from 1; of a Parquet file the number of the row.
        names: of the columns, or None.
        unit: what is counted, `line` or `row`.
    """

    rows: list[list[str]]
    lines: list[int]
    names: list[str] | None = None
    unit: str = "line"


@dataclass(frozen=True)
class LabelledCells:
    """Sentences and labels of a file, as text.

    Attributes:
        texts: a sentence or a pair for each row.
        labels: of each row, without white space at their ends.
        rows: what people call each row, `line 12`.
        label_names: what the columns of labels are called.
    """

    texts: list[list[str]]
    labels: list[list[str]]
    rows: list[str]
    label_names: list[str]

    @classmethod
    def of(cls, cells: Cells, path: Path, text: Columns = None, label: Columns = None) -> LabelledCells:
        """The columns of sentences and labels.

        Args:
            cells: of the file.
            path: of the file, for errors.
            text: the column of sentences, or two of them for pairs; None for those in front of the label.
            label: the column of labels, or several; None for the last one, or the only one that is left.

        Raises:
            UserError: where there are no such columns, or a row has no sentence or no label.
        """
        names = cells.names or [str(number) for number in range(len(cells.rows[0]) if cells.rows else 0)]
        texts, labels = _places(names, text, label, path)
        rows = [f"{cells.unit} {number}" for number in cells.lines]
        for row, name in zip(cells.rows, rows, strict=True):
            wrong = "label" if not all(row[place].strip() for place in labels) else None
            wrong = wrong if all(row[place].strip() for place in texts) else "sentence"
            if wrong:
                raise UserError(f"{path} must have a sentence and a label in every row, found no {wrong} in {name}.")
        if not rows:
            raise UserError(f"{path} must have rows of sentences and labels, found none.")
        return cls(
            [[row[place] for place in texts] for row in cells.rows],
            [[row[place].strip() for place in labels] for row in cells.rows],
            rows,
            [names[place] for place in labels],
        )


def _places(names: list[str], text: Columns, label: Columns, path: Path) -> tuple[list[int], list[int]]:
    """Numbers of the columns of sentences, and of those of labels."""
    chosen = {}
    for key, wanted in (("text", text), ("label", label)):
        wanted = [] if wanted is None else [wanted] if isinstance(wanted, (str, int)) else list(wanted)
        if missing := [name for name in map(str, wanted) if name not in names]:
            raise UserError(
                f"data.source.{key} must name columns of {path}, found {missing[0]!r}: it has {', '.join(names)}."
            )
        chosen[key] = [names.index(str(name)) for name in wanted]
    left = [place for place in range(len(names)) if place not in (*chosen["text"], *chosen["label"])]
    if not chosen["label"]:
        chosen["label"], left = left[-1:], left[:-1]
        if chosen["text"] and left:
            left, chosen["label"] = [], []  # which of several is the label, nobody can know
    chosen["text"] = chosen["text"] or left
    if not 1 <= len(chosen["text"]) <= PAIR or not chosen["label"]:
        raise UserError(
            f"{path} has the columns {', '.join(names)}: name the sentences by data.source.text (one column, or two "
            "for pairs) and the labels by data.source.label."
        )
    return chosen["text"], chosen["label"]


def read_cells(path: Path, header: bool, encoding: str = "utf-8", same_fields: bool = True) -> Cells:
    """The cells of a file, by its ending: JSON lines, CSV with quotes, Parquet; everything else is tab-separated.

    In tab-separated files quotes are ordinary characters.

    Args:
        path: a file of text, or Parquet; `.gz`, `.bz2` or `.xz` behind the ending for a compressed one.
        header: whether the first line of tabs or commas names the columns.
        encoding: of the text.
        same_fields: whether all objects of JSON must have the same fields; else what one lacks is empty.

    Returns:
        Its cells.

    Raises:
        UserError: where the file can't be read, naming the first line that is something else.
    """
    kind = ending(path)
    require_used({"encoding": encoding}, path)
    if kind == PARQUET:
        return _parquet(path)
    text = decoded(path, encoding)
    if kind in JSON_LINES:
        return _json_lines(text, path, same_fields)
    rows = _quoted(text, path) if kind == ".csv" else _tabbed(text)
    lines, cells = [number for number, _ in rows], [row for _, row in rows]
    if empty := [number for number, row in rows if not any(cell.strip() for cell in row)]:
        raise UserError(f"{path} must have something in every line, found an empty line in line {empty[0]}: remove it.")
    if uneven := [number for number, row in rows if len(row) != len(cells[0])]:
        wrong = cells[lines.index(uneven[0])]
        raise UserError(
            f"{path} must have as many columns in every line, found {len(cells[0])} in line {lines[0]} and "
            f"{len(wrong)} in line {uneven[0]}."
        )
    return Cells(cells[1:], lines[1:], [name.strip() for name in cells[0]]) if header else Cells(cells, lines)


def _tabbed(text: str) -> list[tuple[int, list[str]]]:
    # Not splitlines, which takes further characters for ends of lines.
    return [(number, line.split("\t")) for number, line in enumerate(text.removesuffix("\n").split("\n"), 1)]


def _quoted(text: str, path: Path) -> list[tuple[int, list[str]]]:
    reader, rows, first = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True), [], 1
    try:
        for row in reader:
            rows.append((first, row))
            first = reader.line_num + 1
    except csv.Error as reason:
        raise UserError(f"{path} can't be read as CSV ({short(reason)}, line {reader.line_num}): mend it.") from reason
    return rows or [(1, [""])]


def _json_lines(text: str, path: Path, same_fields: bool) -> Cells:
    try:
        numbered = list(json_lines(text))
    except ValueError as reason:
        raise UserError(f"{path} must be an object of JSON in every line, found {reason}.") from reason
    entries, lines, names = [], [], None
    for number, entry in numbered:
        names = names or (list(entry) if isinstance(entry, dict) else [])
        if isinstance(entry, dict) and not same_fields:
            names += [name for name in entry if name not in names]
        elif not isinstance(entry, dict) or set(entry) != set(names) or not names:
            raise UserError(
                f"{path} must be an object of JSON with the fields {', '.join(names) or 'of a row'} in every line, "
                f"found {', '.join(entry) if isinstance(entry, dict) else type(entry).__name__} in line {number}."
            )
        entries.append(entry)
        lines.append(number)
    names = names or []
    return Cells([[field_text(entry.get(name)) for name in names] for entry in entries], lines, names)


def _parquet(path: Path) -> Cells:
    import pandas as pd
    import pyarrow

    try:
        table = pd.read_parquet(path)
    except (ValueError, OSError, pyarrow.ArrowException) as reason:
        raise UserError(f"{path} can't be read as a Parquet table ({short(reason)}).") from reason
    columns: Sequence[list[object]] = [table[name].tolist() for name in table]
    rows = [[field_text(value) for value in row] for row in zip(*columns, strict=True)]
    return Cells(rows, list(range(len(rows))), [str(name) for name in table], "row")


def field_text(value: object) -> str:
    """A field as text; nothing where it has no value.

    Args:
        value: of the field.
    """
    if value is None or value != value:  # NaN
        return ""
    return str(int(value)) if isinstance(value, bool) or isinstance(value, float) and value.is_integer() else str(value)
