"""Text data: labelled sentences, tokenised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from fimo.data.base import Choice, Data, DataInfo, RowNames
from fimo.data.classes import require_known_classes
from fimo.data.corpus import Corpus, Sentences
from fimo.data.descriptions import SentenceDescriptions
from fimo.data.splits import random_split, require_no_draw
from fimo.data.tokens import build_vocabulary, pretrained_tokenisation
from fimo.errors import UserError


class TextSource(Protocol):
    """Where labelled sentences come from."""

    def read(self, data_dir: Path) -> Corpus:
        """The sentences."""
        ...


@dataclass(frozen=True, kw_only=True)
class TextData(Choice):
    """Labelled sentences as token numbers, whose batches are cut to their longest sentence.

    Attributes:
        name: of the folder that results on these data go to.
        batch_size: of further training.
        source: where the sentences come from.
        task: `classification`, `multilabel` or `regression`.
        data_dir: folder of downloaded files.
        tokenizer: a folder or a name on the hub (see `fimo.hub`), or None: a vocabulary of the training
            sentences that are kept.
        max_length: tokens of a sentence or a pair, the first and the last special one among them; longer ones are cut.
        test_size: share of the rows that are test examples, for a source without a split of its own.
        random_state: of scikit-learn's `train_test_split`.
        stratify: give both splits each class in the same share.
    """

    name: str
    batch_size: int
    source: TextSource
    task: str
    data_dir: str
    tokenizer: str | None
    max_length: int
    test_size: float = 0.2
    random_state: int = 0
    stratify: bool = False

    def load(self) -> Data:
        """Read the sentences, choose rows and tokenise those.

        Raises:
            UserError: where sentences or tokenizer can't be read, or the splits have no such rows.
        """
        corpus = self.source.read(Path(self.data_dir)).for_task(self.task, getattr(self.source, "file", "the source"))
        train, test = self._splits(corpus)
        corpus = replace(corpus, train=train)
        index = self.training_rows(len(train))
        kept = train.at(index)
        if self.tokenizer is None:
            tokenisation = build_vocabulary([*kept.text, *(kept.second or ())], self.max_length)
        else:
            tokenisation = pretrained_tokenisation(self.tokenizer, self.max_length)
        info = DataInfo(
            inputs=tokenisation.size,
            outputs=corpus.outputs,
            display=lambda split, row, label=None: corpus.display({"train": train, "test": test}[split], row, label),
            names=RowNames(train.names, test.names),
            classes=corpus.classes or corpus.labels,
            columns=corpus.columns(),
            describe=SentenceDescriptions(corpus, {"train": train, "test": test}, tokenisation.tokenizer),
        )
        rows = tokenisation.rows(test, np.arange(len(test)))
        return self.of_kept(tokenisation.rows(kept, index), len(train), rows, info)

    def _splits(self, corpus: Corpus) -> tuple[Sentences, Sentences]:
        if corpus.test is not None:
            require_no_draw(self)
            return corpus.train, corpus.test
        every = corpus.train
        if self.stratify and not corpus.classes:
            raise UserError(f"data.stratify=true is for data.task=classification, found {self.task}.")
        classes = every.labels if self.stratify else None
        train, test = random_split(len(every), self.test_size, self.random_state, classes)
        if corpus.classes:
            require_known_classes(every.labels, train, corpus.classes, "The labels")
        return every.at(train), every.at(test)
