"""Text for language models: lines, or prompts and completions, as rows of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fimo.data.base import Choice, Data, DataInfo, RowNames
from fimo.data.line_tokens import TOO_LONG, LineTokenisation, TokenRow, paired
from fimo.data.line_vocabularies import UNKNOWN, build_line_vocabulary, pretrained_lines
from fimo.data.lines import Lines, LineSource
from fimo.data.splits import random_split, require_no_draw
from fimo.descriptions import Sentence, Token
from fimo.errors import UserError
from fimo.rows import Rows


@dataclass(frozen=True, kw_only=True)
class LanguageData(Choice):
    """Lines of text as token numbers, whose labels are the tokens themselves.

    Attributes:
        name: of the folder that results on these data go to.
        batch_size: of further training.
        source: where the lines come from.
        task: `language`.
        data_dir: folder of the files.
        tokenizer: a folder or a name on the hub (see `fimo.hub`), or None: a vocabulary of the training lines.
        vocabulary: of the training lines: None for their words, or a number of byte pairs.
        max_length: tokens of a row.
        too_long: what becomes of longer lines: `cut`, or `split` into several rows.
        packed: write lines one after another, and cut all of it into rows of `max_length`.
        ends: whether a line ends with the tokenizer's token for that, which is predicted too.
        test_size: share of the lines that are test rows, for a source with one split.
        random_state: of scikit-learn's `train_test_split`.
    """

    name: str
    batch_size: int
    source: LineSource
    data_dir: str
    tokenizer: str | None
    max_length: int
    task: str = "language"
    vocabulary: int | None = None
    too_long: str = "cut"
    packed: bool = False
    ends: bool = True
    test_size: float = 0.2
    random_state: int = 0

    def load(self) -> Data:
        """Read the lines, make rows of tokens of them and choose among these.

        Raises:
            UserError: where lines or tokenizer can't be read, or the splits have no such rows.
        """
        if self.too_long not in TOO_LONG or self.max_length < 2:
            raise UserError(
                f"data.too_long must be one of {', '.join(TOO_LONG)} and data.max_length at least 2, found "
                f"{self.too_long!r} and {self.max_length}."
            )
        train, test = self.source.read(Path(self.data_dir))
        if test is None:
            index, others = random_split(len(train), self.test_size, self.random_state)
            if self.packed:  # a running text stays one: its end is the test
                index, others = np.split(np.arange(len(train)), [len(index)])
            train, test = train.at(index), train.at(others)
        else:
            require_no_draw(self)
        if self.too_long == "split" and (train.prompt or test.other) is not None:
            raise UserError(
                "A part of a split line has no prompt and no other answer: data.source.prompt and data.source.other "
                "need data.too_long=cut."
            )
        if self.tokenizer is None:
            tokenisation = build_line_vocabulary(train, self.max_length, self.vocabulary, self.ends)
        else:
            tokenisation = pretrained_lines(self.tokenizer, self.max_length, self.ends)
        rows = {
            split: tokenisation.rows(lines, self.too_long, self.packed)
            for split, lines in (("train", train), ("test", test))
        }
        texts = Texts(rows, tokenisation, test.other)
        info = DataInfo(
            inputs=tokenisation.size,
            outputs=tokenisation.size,
            display=texts.display,
            names=RowNames(*([row.name for row in rows[split]] for split in ("train", "test"))),
            columns=_columns(train, rows["train"]),
            describe=texts.describe,
            word=texts.word,
        )
        index = self.training_rows(len(rows["train"]))
        kept = tokenisation.as_rows([rows["train"][row] for row in index], torch.from_numpy(index))
        return self.of_kept(kept, len(rows["train"]), self._test(tokenisation, test, rows["test"]), info)

    def _test(self, tokenisation: LineTokenisation, lines: Lines, rows: Sequence[TokenRow]) -> Rows:
        """The test rows; with another answer to each prompt where the source has one."""
        index = torch.arange(len(rows))
        own = tokenisation.as_rows(rows, index)
        if lines.other is None:
            return own
        if self.packed:
            raise UserError("Answers are compared row by row: data.source.other needs data.packed=false.")
        others = [tokenisation.row(lines, line, lines.other) for line in range(len(lines))]
        both = [*(tokenisation.row(lines, line) for line in range(len(lines))), *others]
        if cut := [row.name for row in both if len(row.ids) > tokenisation.max_length]:
            raise UserError(
                f"Answers that are compared must not be cut, found {len(cut)} with more than {tokenisation.max_length} "
                f"tokens, the first in {cut[0]}: raise data.max_length, or shorten them."
            )
        return paired(own, tokenisation.as_rows(others, index))


@dataclass(frozen=True)
class Texts:
    """Rows of tokens as people read them.

    Attributes:
        rows: of `train` and `test`.
        tokenisation: which knows the tokens' own text.
        others: the answer that each test row's own is compared with; None for none.
    """

    rows: Mapping[str, Sequence[TokenRow]]
    tokenisation: LineTokenisation
    others: Sequence[str] | None = None

    def display(self, split: str, row: int, label: str | None = None) -> str:
        """A row's text, without what was cut off, in one line; an arrow stands between a prompt and its completion.

        Args:
            split: `train` or `test`.
            row: position in that split.
            label: it doesn't matter.
        """
        text = " → ".join(" ".join(text.split()) for text, _ in self._parts(self.rows[split][row]))
        other = self._other(split, row)
        return f"{text} ({other})" if other else text

    def describe(self, split: str, row: int) -> Sentence:
        """A row's text with its tokens; a prompt and its completion are a pair.

        Args:
            split: `train` or `test`.
            row: position in that split.
        """
        texts, tokens = zip(*self._parts(self.rows[split][row]), strict=True)
        return Sentence(texts, tokens, self._other(split, row))

    def _other(self, split: str, row: int) -> str:
        return f"the other answer: {self.others[row].strip()}" if self.others and split == "test" else ""

    def _parts(self, row: TokenRow) -> list[tuple[str, list[Token]]]:
        """Text and tokens of a row's prompt, where it has one, and of what follows it."""
        places = [(number, *span) for number, span in zip(row.ids, row.spans, strict=True) if span[1]]
        parts = []
        for first, last in ((0, row.prompt), (row.prompt, len(row.text))):
            own = [(number, start, end) for number, start, end in places if first < end <= last]
            if own:
                begin = max(own[0][1], first)
                tokens = [
                    Token(max(start, begin) - begin, end - begin, self.word(number), self.word(number) != UNKNOWN)
                    for number, start, end in own
                ]
                parts.append((row.text[begin : own[-1][2]], tokens))
        return parts or [("", [])]

    def word(self, number: int) -> str:
        """A token as its tokenizer has it.

        Args:
            number: of the token.
        """
        return str(self.tokenisation.tokenizer.id_to_token(number))


def _columns(lines: Lines, rows: Sequence[TokenRow]) -> dict[str, np.ndarray]:
    """What training rows can be grouped by: the fields of their lines, and the line itself."""
    columns = {**lines.columns, "line": lines.names}
    return {name: np.array([values[row.line] for row in rows]) for name, values in columns.items()}
