"""Lines of text in files: plain ones, and fields of JSON lines or tables; and data sets of the hub, by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fimo import hub
from fimo.data.lines import Lines
from fimo.data.sentence_files import field_text, read_cells
from fimo.data.text_files import JSON_LINES, decoded, ending
from fimo.errors import Unavailable, UserError, short

# Endings of files whose rows have fields.
WITH_FIELDS = (*JSON_LINES, ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class LineFile:
    """A file with a text in every row: a plain line, or a field of JSON lines, CSV, tab-separated text or Parquet.

    Attributes:
        file: path below the data folder. What ends in .jsonl, .csv, .tsv or .parquet has fields; in any other file
            every line is a text.
        test_file: a second file, of the same form, with the test rows; None draws them from the first.
        text: the field of the text; None for the only one there is.
        prompt: the field of what stands in front of the text and carries no loss, or None.
        other: the field of another answer, which the text of a test row is compared with, or None.
        header: whether the first line of a .csv or .tsv file names its columns.
        encoding: of the text.
        sha256: None; any content is accepted, and results on another content lie at another address.
    """

    file: str
    test_file: str | None = None
    text: str | None = None
    prompt: str | None = None
    other: str | None = None
    header: bool = True
    encoding: str = "utf-8"
    sha256: None = None

    def read(self, data_dir: Path) -> tuple[Lines, Lines | None]:
        """All rows, in one split or in two.

        Raises:
            UserError: naming a row without a text, or a field that isn't there.
        """
        train = self._lines(data_dir / self.file)
        return train, self._lines(data_dir / self.test_file) if self.test_file else None

    def _lines(self, path: Path) -> Lines:
        if ending(path) not in WITH_FIELDS:
            return self._plain(path)
        cells = read_cells(path, self.header, self.encoding, same_fields=False)
        names = cells.names or [str(number) for number in range(len(cells.rows[0]) if cells.rows else 0)]
        columns = {name: [row[place] for row in cells.rows] for place, name in enumerate(names)}
        rows = [f"{cells.unit} {number}" for number in cells.lines]
        chosen = {"text": self.text or (names[0] if len(names) == 1 else None)}
        chosen |= {"prompt": self.prompt, "other": self.other}
        if chosen["text"] is None:
            raise UserError(f"{path} has the fields {', '.join(names)}: name that of the text by data.source.text.")
        for key, name in chosen.items():
            if name is not None and name not in columns:
                raise UserError(
                    f"data.source.{key} must name a field of {path}, found {name!r}: it has {', '.join(names)}."
                )
        fields = {key: None if name is None else columns[name] for key, name in chosen.items()}
        for key, values in fields.items():
            if empty := [row for row, value in zip(rows, values or [], strict=False) if not value.strip()]:
                what = "completion" if key == "text" and self.prompt else key
                raise UserError(
                    f"{path} must have a {what} in every row, found nothing in the field {chosen[key]!r} in {empty[0]}."
                )
        if not rows:
            raise UserError(f"{path} must have rows of text, found none.")
        groups = {name: values for name, values in columns.items() if name not in chosen.values()}
        return Lines(fields["text"] or [], rows, fields["prompt"], fields["other"], groups)

    def _plain(self, path: Path) -> Lines:
        if named := [key for key in ("text", "prompt", "other") if getattr(self, key) is not None]:
            raise UserError(
                f"data.source.{named[0]} names a field, and {path} has none: fields are in files that end in "
                f"{', '.join(WITH_FIELDS)}."
            )
        lines = decoded(path, self.encoding).removesuffix("\n").split("\n")
        if empty := [number for number, line in enumerate(lines, 1) if not line.strip()]:
            raise UserError(
                f"{path} must have a text in every line, found an empty line in line {empty[0]}: remove it."
            )
        return Lines(lines, [f"line {number}" for number in range(1, len(lines) + 1)])


@dataclass(frozen=True)
class HubLines:
    """A data set on the Hugging Face hub, which is kept as JSON lines in the data folder.

    Attributes:
        dataset: name on the hub.
        text, prompt, other: fields, as of `LineFile`.
        configuration: of that data set, or None.
        splits: names there of the splits `train` and `test`; without `test` its rows are drawn from `train`.
        revision: of the data set on the hub, or None for the latest.
    """

    dataset: str
    text: str | None = None
    prompt: str | None = None
    other: str | None = None
    configuration: str | None = None
    splits: Mapping[str, str] | None = None
    revision: str | None = None

    def files(self, data_dir: Path) -> list[Path]:
        """The files that the rows are kept in, downloaded where they aren't there.

        Raises:
            UserError: for other splits than `train` and `test`.
            Unavailable: where neither folder nor hub has them.
        """
        names = dict(self.splits or {"train": "train"})
        if "train" not in names or set(names) - {"train", "test"}:
            raise UserError(f"data.source.splits must name train, and test where there is one, found {names}.")
        parts = [part for part in (self.dataset, self.configuration, self.revision) if part]
        folder = data_dir / "hub" / "--".join(part.replace("/", "--") for part in parts)
        paths = {split: folder / f"{names[split]}.jsonl" for split in sorted(names, reverse=True)}  # train, then test
        if not all(path.is_file() for path in paths.values()):
            self._download(names, paths)
        return list(paths.values())

    def read(self, data_dir: Path) -> tuple[Lines, Lines | None]:
        """The rows of both splits.

        Raises:
            UserError: for a field that isn't there; `Unavailable` where the data set can't be had.
        """
        train, *test = (str(path) for path in self.files(data_dir))
        return LineFile(train, test[0] if test else None, self.text, self.prompt, self.other).read(Path())

    def _fields(self, row: Mapping[str, object]) -> dict[str, str]:
        """The fields of a row as text."""
        for key in filter(None, (self.text, self.prompt, self.other)):
            if isinstance(row.get(key), (list, tuple, Mapping)):
                raise UserError(
                    f"The field {key} of {self.dataset} must be text, found a {type(row[key]).__name__}: write the "
                    "texts into a file of JSON lines, and take data=text_lines."
                )
        return {key: field_text(value) for key, value in row.items()}

    def _download(self, names: Mapping[str, str], paths: Mapping[str, Path]) -> None:
        try:
            published = hub.published_splits(self.dataset, self.configuration, self.revision)
            rows = {split: list(published[name]) for split, name in names.items()}
        except (Unavailable, KeyError) as reason:
            folder = next(iter(paths.values())).parent
            raise Unavailable(
                f"{self.dataset} could not be had from the Hugging Face hub ({short(reason)}): put its splits as "
                f"{' and '.join(path.name for path in paths.values())} into {folder}, an object of JSON in every line."
            ) from reason
        for split, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(self._fields(row), ensure_ascii=False) for row in rows[split]]
            scratch = path.with_suffix(".part")
            scratch.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
            scratch.rename(path)
