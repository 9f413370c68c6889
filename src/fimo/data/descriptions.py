"""Rows of each kind of data as people want to see them, from what the data were made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fimo.data.corpus import Corpus, Sentences
from fimo.data.tables import Table, cell_text
from fimo.descriptions import Cell, Description, Picture, Sentence, TableRow, Token

if TYPE_CHECKING:
    from pandas.api.extensions import ExtensionArray
    from tokenizers import Encoding, Tokenizer

# ("train" or "test", position in that split) gives the example.
Describe = Callable[[str, int], Description]


def described(display: str | np.ndarray) -> Description:
    """What is known of an example for which its kind of data has no more than text or pixels.

    Args:
        display: a line of text, or an image `[height, width, channel]`, uint8.
    """
    return display if isinstance(display, str) else Picture(display)


def relabelled(description: Description, label: str) -> Description:
    """An example with another label, where its own was flipped.

    Args:
        description: of a row with one target, a class.
        label: what people read in its place.
    """
    if isinstance(description, TableRow):
        (name, _), *weight = description.targets
        return replace(description, targets=[(name, label), *weight])
    if isinstance(description, (Sentence, Picture)):
        return replace(description, label=label)
    return description


def short_number(value: object) -> str:
    """A cell as people write it; of numbers that are not whole four digits."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return cell_text(value)


@dataclass(frozen=True)
class TableDescriptions:
    """Rows of a table in its own columns, however these are encoded.

    Attributes:
        table: the entire table.
        splits: numbers of the rows of `train` and of `test`, `[row]`.
    """

    table: Table
    splits: Mapping[str, np.ndarray]

    def __call__(self, split: str, row: int) -> TableRow:
        """A row with how far each of its values lies from the training rows' mean.

        Args:
            split: `train` or `test`.
            row: position in that split.
        """
        table, number = self.table, self.splits[split][row]
        targets = [(name, short_number(values[number])) for name, values in table.targets_by_name.items()]
        if split == "train" and table.weights is not None:
            targets.append((f"weight {table.weights.name}", cell_text(table.weights.iloc[number])))
        return TableRow(targets, [self._cell(name, values[number]) for name, values in self._columns.items()])

    def _cell(self, name: str, value: object) -> Cell:
        shares = self._shares.get(name)
        if shares is None:
            mean, deviation = self._moments[name]
            number = float(value)  # type: ignore[arg-type]
            return Cell(name, short_number(number), (number - mean) / deviation if deviation else None)
        share = shares.get(value, 0.0)
        # Mean and deviation of a column of 0 and 1 with so many ones: (1 − p) / √(p(1 − p)).
        return Cell(name, cell_text(value), ((1 - share) / share) ** 0.5 if share else None, share)

    @cached_property
    def _columns(self) -> dict[str, ExtensionArray]:
        """The values of each column: to take it out of its table for every cell takes most of a page's time."""
        return {str(name): column.array for name, column in self.table.inputs.items()}

    @cached_property
    def _moments(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of the numbers over the training rows."""
        plain = [name for name in self.table.inputs if name not in self.table.categories]
        values = self.table.inputs[plain].to_numpy()[self.splits["train"]].astype("float64")
        moments = zip(values.mean(0), values.std(0), strict=True)
        return {str(name): (float(mean), float(std)) for name, (mean, std) in zip(plain, moments, strict=True)}

    @cached_property
    def _shares(self) -> dict[str, dict[object, float]]:
        """How often each category stands in the training rows, by column."""
        rows = self.table.inputs.iloc[self.splits["train"]]
        return {str(name): rows[name].value_counts(normalize=True).to_dict() for name in self.table.categories}


@dataclass(frozen=True)
class SentenceDescriptions:
    """Sentences with their tokens.

    Attributes:
        corpus: what the sentences come from.
        splits: `train` and `test`.
        tokenizer: which cuts what is too long.
    """

    corpus: Corpus
    splits: Mapping[str, Sentences]
    tokenizer: Tokenizer

    def __call__(self, split: str, row: int) -> Sentence:
        """A sentence or a pair, its tokens and its label.

        Args:
            split: `train` or `test`.
            row: position in that split.
        """
        sentences = self.splits[split]
        first, second = sentences.text[row], None if sentences.second is None else sentences.second[row]
        texts = [first] if second is None else [first, second]
        encoding = self.tokenizer.encode(first, second)
        tokens = [self._tokens(encoding, place) for place in range(len(texts))]
        return Sentence(texts, tokens, self.corpus.label_of(sentences.labels[row]))

    def _tokens(self, encoding: Encoding, place: int) -> list[Token]:
        """Those of one of the texts, without special ones; the parts of one letter become one."""
        unknown = getattr(self.tokenizer.model, "unk_token", None)
        tokens: list[Token] = []
        parts = zip(encoding.tokens, encoding.offsets, encoding.sequence_ids, strict=True)
        for text, (start, end), sequence in parts:
            if sequence == place and (not tokens or start >= tokens[-1].end):
                tokens.append(Token(start, end, text, text != unknown))
        return tokens


@dataclass(frozen=True)
class PictureDescriptions:
    """Images with the names of their classes.

    Attributes:
        display: an image by split and position.
        labels: class numbers of both splits, `[row]`.
        classes: names by number.
    """

    display: Callable[[str, int], np.ndarray]
    labels: Mapping[str, np.ndarray]
    classes: tuple[str, ...]

    def __call__(self, split: str, row: int) -> Picture:
        """An image and its class.

        Args:
            split: `train` or `test`.
            row: position in that split.
        """
        return Picture(self.display(split, row), self.classes[int(self.labels[split][row])])
