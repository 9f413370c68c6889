"""An example as people want to see it: a table's row, a sentence with its tokens, a picture, or a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cell:
    """A column of a table's row, in the column's own unit.

    Attributes:
        column: its name.
        text: its value as people write it.
        deviation: how far the value lies from the training rows' mean, in their standard deviations and with its sign;
            of a category that of the column which is 1 where a row has this category. None where there is no spread.
        share: of a category, which share of the training rows has it; None for numbers.
    """

    column: str
    text: str
    deviation: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        targets: name and value of each target, and of the row's weight where it has one.
        cells: the inputs, in the order of the table.
    """

    targets: Sequence[tuple[str, str]]
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Token:
    """What a tokenizer made of a piece of text.

    Attributes:
        start: of the piece in the text, in characters.
        end: behind its last character.
        text: the token.
        known: whether the vocabulary has it.
    """

    start: int
    end: int
    text: str
    known: bool = True


@dataclass(frozen=True)
class Sentence:
    """A sentence, or a pair of sentences, with the tokens that a network sees.

    Attributes:
        texts: one sentence, or two, as they are.
        tokens: of each sentence, in their order; what has none at the end of a text was cut off.
        label: class, labels or number, for people.
    """

    texts: Sequence[str]
    tokens: Sequence[Sequence[Token]]
    label: str


@dataclass(frozen=True)
class Picture:
    """An image.

    Attributes:
        pixels: `[height, width, channel]` with one or three channels, uint8.
        label: its class, for people; empty where it has none.
    """

    pixels: np.ndarray
    label: str = ""


@dataclass(frozen=True)
class Group:
    """Training rows that are left out together.

    Attributes:
        size: how many rows.
        first: name and description of its first rows.
    """

    size: int
    first: Sequence[tuple[str, Description]]


# What `Data.describe` gives; text is that of an example of which nothing more is known.
Description = TableRow | Sentence | Picture | Group | str
