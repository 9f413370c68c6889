"""Labelled sentences in tab-separated files: files of one's own, and SST-2."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fimo import hub
from fimo.data.classes import class_numbers
from fimo.data.corpus import Corpus, Sentences
from fimo.data.sentence_files import Columns, LabelledCells, read_cells
from fimo.errors import Unavailable, UserError, short

logger = logging.getLogger(__name__)

HEADER = ("sentence", "label")


@dataclass(frozen=True)
class TextFile:
    """A file of one's own: a sentence, or a pair of them, and a label in every row.

    Tab-separated lines, CSV, JSON lines or Parquet (see `read_cells`). Without further settings the last column is the
    label, and what is in front of it, one column or two, are the sentences.

    Attributes:
        file: path below the data folder.
        header: whether the first line of tabs or commas names the columns.
        sha256: None; any content is accepted, and results on another content lie at another address.
        text: the column of sentences, or a list of two; names, or numbers from 0 where there are no names.
        label: the column of labels, or a list of several.
        encoding: of the text.
    """

    file: str
    header: bool = False
    sha256: None = None
    text: Columns = None
    label: Columns = None
    encoding: str = "utf-8"

    def read(self, data_dir: Path) -> Corpus:
        """All rows, in one split, with their labels as text.

        Raises:
            UserError: naming the line that is no sentence with a label.
        """
        path = data_dir / self.file
        cells = read_cells(path, self.header, self.encoding)
        labelled = LabelledCells.of(cells, path, self.text, self.label)
        if cells.names is None:
            _check_first_line(cells.rows[0], [label[0] for label in labelled.labels], path)
        pairs = len(labelled.texts[0]) > 1
        rows = Sentences(
            [text[0] for text in labelled.texts],
            np.array(labelled.labels),
            labelled.rows,
            [text[1] for text in labelled.texts] if pairs else None,
        )
        return Corpus((), rows, labels=tuple(labelled.label_names))


def _check_first_line(first: Sequence[str], labels: Sequence[str], path: Path) -> None:
    """Refuse, or point at, a first line that names the columns.

    Raises:
        UserError: where it is `sentence` and `label`, or its label is a word among numbers.
    """
    words = [cell.strip().lower() for cell in first]
    number = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)
    others = labels[1:]
    if words == [*HEADER] or others and not number.fullmatch(labels[0]) and all(map(number.fullmatch, others)):
        raise UserError(f"The first line of {path} names columns ({', '.join(first)}): add data.source.header=true.")
    if labels.count(labels[0]) == 1 and others and min(Counter(others).values()) > 1:
        logger.warning(
            "%s: the label %r is in the first line only: if this line names the columns, add data.source.header=true",
            path, labels[0],
        )  # fmt: skip


@dataclass(frozen=True)
class HubSentences:
    """A published set in two files with a header, or a data set on the Hugging Face hub that they are made from.

    Attributes:
        files: paths below the data folder of the splits `train` and `test`.
        dataset: name on the hub.
        configuration: of that data set.
        splits: names there of the splits `train` and `test`.
        classes: names of the labels 0, 1, ….
        rows: how many the published splits have.
        sha256: of the published rows (see `_digest`), or None to take any.
    """

    files: Mapping[str, str]
    dataset: str
    configuration: str
    splits: Mapping[str, str]
    classes: Sequence[str]
    rows: Mapping[str, int]
    sha256: str | None = None

    def read(self, data_dir: Path) -> Corpus:
        """Both splits, checked.

        Raises:
            UserError: where they are not the published ones; `Unavailable` where neither files nor hub have them.
        """
        paths = {split: data_dir / file for split, file in self.files.items()}
        if not all(path.is_file() for path in paths.values()):
            self._download(paths)
        rows = {split: self._read(path) for split, path in paths.items()}
        self._check(rows, paths["train"].parent)
        train, test = (self._numbered(rows[split], paths[split]) for split in ("train", "test"))
        return Corpus(tuple(self.classes), train, test)

    def _read(self, path: Path) -> list[tuple[str, str]]:
        """Sentence and label of every line below the header."""
        labelled = LabelledCells.of(read_cells(path, header=True), path)
        return [(text[0], label[0]) for text, label in zip(labelled.texts, labelled.labels, strict=True)]

    def _check(self, rows: Mapping[str, list[tuple[str, str]]], where: object) -> None:
        for split, sentences in rows.items():
            if len(sentences) != self.rows[split]:
                raise UserError(
                    f"{where} has {len(sentences)} sentences in the split {split}, expected {self.rows[split]}: remove "
                    f"it and get {self.dataset} anew."
                )
        if self.sha256 is not None and (digest := _digest(rows)) != self.sha256:
            raise UserError(
                f"{where} holds other sentences than the published {self.dataset} (SHA-256 of its lines {digest[:8]}…, "
                f"expected {self.sha256[:8]}…): remove it and get it anew, or accept it with data.source.sha256=null."
            )

    def _numbered(self, rows: list[tuple[str, str]], path: Path) -> Sentences:
        labels, classes = class_numbers([label for _, label in rows], f"The labels in {path}")
        if len(classes) != len(self.classes):
            raise UserError(f"{path} must have labels of {len(self.classes)} classes, found {len(classes)}.")
        return Sentences([text for text, _ in rows], labels, [f"line {row + 2}" for row in range(len(rows))])

    def _download(self, paths: Mapping[str, Path]) -> None:
        """Download both splits and write both files, or nothing."""
        folder = paths["train"].parent
        try:
            published = hub.published_splits(self.dataset, self.configuration)
            rows = {
                split: [(str(row[HEADER[0]]), str(row[HEADER[1]])) for row in published[name]]
                for split, name in self.splits.items()
            }
            self._check(rows, self.dataset)
        except (UserError, KeyError) as reason:
            names = " and ".join(path.name for path in paths.values())
            raise Unavailable(
                f"{folder} has no {names}, and {self.dataset} could not be had from the Hugging Face hub "
                f"({short(reason)}): put the files there (columns sentence and label, separated by a tab), "
                "or name the folder that has them by paths.data_dir or FIMO_DATA_DIR."
            ) from reason
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            for split, path in paths.items():
                lines = ["\t".join(HEADER), *map("\t".join, rows[split])]
                (Path(scratch) / path.name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
            for path in paths.values():
                os.replace(Path(scratch) / path.name, path)


def _digest(rows: Mapping[str, list[tuple[str, str]]]) -> str:
    """SHA-256 of the lines sentence<TAB>label of both splits, without white space at the sentences' ends."""
    lines = (f"{sentence.strip()}\t{label}\n" for split in ("train", "test") for sentence, label in rows[split])
    return hashlib.sha256("".join(lines).encode()).hexdigest()
