"""Labelled sentences in tab-separated files: files of one's own, and SST-2."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fimo import hub
from fimo.data.text import Corpus, Sentences
from fimo.errors import Unavailable, UserError

logger = logging.getLogger(__name__)

HEADER = ("sentence", "label")


def read_tsv(path: Path, header: bool) -> list[tuple[str, str]]:
    """Sentence and label of every line; quotes are ordinary characters.

    Args:
        path: a file in UTF-8 with two columns that a tab separates.
        header: whether the first line names the columns.

    Returns:
        A pair for each line but the header.

    Raises:
        UserError: where the file can't be read, or naming the first line that is something else.
    """
    try:
        content = path.read_bytes()
    except OSError as reason:
        raise UserError(
            f"{path} must be a file of lines sentence<TAB>label, and can't be read ({reason.strerror})."
        ) from reason
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        line = content[: reason.start].count(b"\n") + 1
        raise UserError(f"{path} must be text in UTF-8, found another byte in line {line}: save it anew.") from reason
    # Not splitlines, which takes further characters for ends of lines.
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return [_parsed(path, number, line) for number, line in enumerate(lines, 1) if not (header and number == 1)]


def _parsed(path: Path, number: int, line: str) -> tuple[str, str]:
    cells = line.split("\t")
    wrong = None
    if not line.strip():
        wrong = "an empty line"
    elif len(cells) > 2:
        wrong = f"{len(cells)} columns"
    elif len(cells) < 2 or not cells[1].strip():
        wrong = "no label"
    elif not cells[0].strip():
        wrong = "no sentence"
    if wrong:
        raise UserError(
            f"{path} must have a sentence, a tab and a label in every line, found {wrong} in line {number}."
        )
    return cells[0], cells[1].strip()


def numbered(labels: Sequence[str], where: object) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers of labels: integers 0, 1, … as they are, words in sorted order.

    Args:
        labels: a label for each row.
        where: what they were read from, for the error.

    Returns:
        Class numbers `[row]`, int64, and the names of the classes.

    Raises:
        UserError: for one class only, or integers that leave some out.
    """
    names = sorted(set(labels))
    if len(names) < 2:
        raise UserError(f"{where} must have labels of at least two classes, found {names or 'no line'} only.")
    if all(re.fullmatch(r"-?[0-9]+", name) for name in names):
        numbers = np.array([int(label) for label in labels])
        classes = np.unique(numbers)
        if not np.array_equal(classes, np.arange(len(classes))):
            raise UserError(
                f"{where} must have labels 0, 1, … without a gap, or words, found {len(classes)} numbers from "
                f"{classes[0]} to {classes[-1]}."
            )
        return numbers, tuple(map(str, classes))
    order = {name: number for number, name in enumerate(names)}
    return np.array([order[label] for label in labels]), tuple(names)


@dataclass(frozen=True)
class TextFile:
    """A file of one's own: a sentence, a tab and a label in every line.

    Attributes:
        file: path below the data folder.
        header: whether the first line names the columns.
        sha256: None; any content is accepted, and results on another content lie at another address.
    """

    file: str
    header: bool = False
    sha256: None = None

    def read(self, data_dir: Path) -> Corpus:
        """All sentences, in one split.

        Raises:
            UserError: naming the line that is no sentence with a label.
        """
        path = data_dir / self.file
        rows = read_tsv(path, self.header)
        if not self.header and rows and [word.lower() for word in rows[0]] == ["sentence", "label"]:
            raise UserError(f"The first line of {path} names columns: add data.source.header=true.")
        labels, classes = numbered([label for _, label in rows], path)
        return Corpus(classes, Sentences([sentence for sentence, _ in rows], labels))


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
        rows = {split: read_tsv(path, header=True) for split, path in paths.items()}
        self._check(rows, paths["train"].parent)
        return Corpus(tuple(self.classes), *(self._sentences(rows[split], paths[split]) for split in ("train", "test")))

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

    def _sentences(self, rows: list[tuple[str, str]], path: Path) -> Sentences:
        labels, classes = numbered([label for _, label in rows], path)
        if len(classes) != len(self.classes):
            raise UserError(f"{path} must have labels of {len(self.classes)} classes, found {len(classes)}.")
        return Sentences([sentence for sentence, _ in rows], labels)

    def _download(self, paths: Mapping[str, Path]) -> None:
        """Download both splits and write both files, or nothing."""
        import datasets  # as long to import as all the rest, and needed once
        from datasets.exceptions import DatasetsError
        from huggingface_hub import HfApi

        folder = paths["train"].parent
        try:
            # A single request first: the library would try again and again where there is no network.
            HfApi().dataset_info(self.dataset, timeout=hub.TIMEOUT_SECONDS)
            logger.info("%s is not there: downloading %s from the Hugging Face hub", paths["train"], self.dataset)
            datasets.disable_progress_bars()
            published = datasets.load_dataset(self.dataset, self.configuration)
            rows = {
                split: [(str(row[HEADER[0]]), str(row[HEADER[1]])) for row in published[name]]
                for split, name in self.splits.items()
            }
            self._check(rows, self.dataset)
        except (*hub.network_errors(), DatasetsError, ValueError, KeyError, UserError) as reason:
            names = " and ".join(path.name for path in paths.values())
            raise Unavailable(
                f"{folder} has no {names}, and {self.dataset} could not be had from the Hugging Face hub "
                f"({hub.short(reason)}): put the files there (columns sentence and label, separated by a tab), "
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
