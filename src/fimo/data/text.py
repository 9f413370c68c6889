"""Text data: labelled sentences, tokenised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fimo.data.base import Choice, Data
from fimo.data.left_out import LeftOut
from fimo.data.tokens import build_vocabulary, pretrained_tokenisation
from fimo.errors import UserError


@dataclass(frozen=True)
class Sentences:
    """Sentences of one split.

    Attributes:
        text: the sentences as they are.
        labels: `[row]`, class numbers.
    """

    text: list[str]
    labels: np.ndarray

    def at(self, index: np.ndarray) -> Sentences:
        """The sentences at `index`."""
        return Sentences([self.text[row] for row in index], self.labels[index])


@dataclass(frozen=True)
class Corpus:
    """Labelled sentences.

    Attributes:
        classes: names of the classes, by number.
        train: the training split, or all sentences where there is one split only.
        test: the test split, or None: rows are drawn from `train` then.
    """

    classes: tuple[str, ...]
    train: Sentences
    test: Sentences | None = None


class TextSource(Protocol):
    """Where labelled sentences come from."""

    def read(self, data_dir: Path) -> Corpus:
        """The sentences."""
        ...


@dataclass(frozen=True)
class TextData:
    """Labelled sentences as token numbers, whose batches are cut to their longest sentence.

    Attributes:
        name: of the folder that results on these data go to.
        batch_size: of further training.
        source: where the sentences come from.
        task: `classification`.
        data_dir: folder of downloaded files.
        tokenizer: a folder or a name on the hub (see `fimo.hub`), or None: a vocabulary of the training
            sentences that are kept.
        max_length: tokens of a sentence, the first and the last special one among them; longer ones are cut.
        left_out, left_out_first, train_rows, test_count: see `Choice`.
        test_size: share of the rows that are test examples, for a source without a split of its own.
        random_state: of scikit-learn's `train_test_split`.
    """

    name: str
    batch_size: int
    source: TextSource
    task: str
    data_dir: str
    tokenizer: str | None
    max_length: int
    left_out: LeftOut
    left_out_first: int | None = None
    train_rows: int | None = None
    test_count: int | None = None
    test_size: float = 0.2
    random_state: int = 0

    def load(self) -> Data:
        """Read the sentences, choose rows and tokenise those.

        Raises:
            UserError: where sentences or tokenizer can't be read, or the splits have no such rows.
        """
        if self.task != "classification":
            raise UserError(f"data.task must be classification for text, found {self.task!r}.")
        corpus = self.source.read(Path(self.data_dir))
        splits = dict(zip(("train", "test"), self._splits(corpus), strict=True))
        choice = Choice(self.left_out, self.left_out_first, self.train_rows, self.test_count)
        index = choice.training_rows(len(splits["train"].text))
        kept, test = splits["train"].at(index), splits["test"]
        if self.tokenizer is None:
            tokenisation = build_vocabulary(kept.text, self.max_length)
        else:
            tokenisation = pretrained_tokenisation(self.tokenizer, self.max_length)

        def display(split: str, row: int) -> str:
            sentences = splits[split]
            return f"{sentences.text[row].strip()} ({corpus.classes[sentences.labels[row]]})"

        return choice.of_kept(
            tokenisation.rows(kept.text, kept.labels, index),
            len(splits["train"].text),
            tokenisation.rows(test.text, test.labels, np.arange(len(test.text))),
            tokenisation.size,
            len(corpus.classes),
            display,
            {"label": np.array(corpus.classes)[splits["train"].labels]},
        )

    def _splits(self, corpus: Corpus) -> tuple[Sentences, Sentences]:
        if corpus.test is not None:
            return corpus.train, corpus.test
        from sklearn.model_selection import train_test_split

        rows = np.arange(len(corpus.train.text))
        try:
            train, test = train_test_split(rows, test_size=self.test_size, random_state=self.random_state)
        except ValueError as reason:
            raise UserError(
                f"data.test_size={self.test_size} of {len(rows)} rows leaves a split without a row."
            ) from reason
        return corpus.train.at(train), corpus.train.at(test)
