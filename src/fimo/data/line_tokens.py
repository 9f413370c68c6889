"""Lines of text as rows of tokens with labels: cut, split or packed to a length."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fimo.data.lines import Lines
from fimo.data.tokens import padded
from fimo.errors import UserError
from fimo.rows import NO_LOSS, Rows

logger = logging.getLogger(__name__)

# What becomes of lines that are longer than max_length.
TOO_LONG = ("cut", "split")


@dataclass(frozen=True)
class TokenRow:
    """A row of tokens.

    Attributes:
        ids: token numbers.
        labels: the same, or `NO_LOSS`.
        spans: where each token stands in the text, in characters; (0, 0) for special ones.
        text: the prompt, and what follows it.
        name: what people call the row.
        line: position of the line, in its split, that it is of (the first, of a packed row).
        prompt: characters of the text in front of its completion.
    """

    ids: list[int]
    labels: list[int]
    spans: list[tuple[int, int]]
    text: str
    name: str
    line: int
    prompt: int = 0

    @property
    def predicts(self) -> bool:
        """Whether a token is predicted; the first never is."""
        return any(label != NO_LOSS for label in self.labels[1:])

    def part(self, start: int, end: int) -> TokenRow:
        """Some of its tokens.

        Args:
            start: the first.
            end: behind the last.
        """
        return replace(self, ids=self.ids[start:end], labels=self.labels[start:end], spans=self.spans[start:end])


@dataclass(frozen=True)
class LineTokenisation:
    """A tokenizer of lines.

    Attributes:
        tokenizer: of the `tokenizers` library; it neither cuts nor pads.
        pad: the token that fills rows up.
        size: words of the vocabulary.
        end: the token that ends a line, or None for none.
        max_length: tokens of a row.
    """

    tokenizer: Any
    pad: int
    size: int
    end: int | None
    max_length: int

    def row(self, lines: Lines, line: int, completions: Sequence[str] | None = None) -> TokenRow:
        """A line with its prompt, not cut yet.

        Both are tokenised as one text, and a token that reaches from one into the other belongs to the completion.

        Args:
            lines: of a split.
            line: position.
            completions: in place of the lines' own texts, by position.
        """
        text = (lines.text if completions is None else completions)[line]
        prompt = "" if lines.prompt is None else lines.prompt[line]
        if prompt and not prompt[-1].isspace() and not text[:1].isspace():
            text = f" {text}"
        encoding = self.tokenizer.encode(prompt + text)
        ids, spans = list(encoding.ids), list(encoding.offsets)
        own = [
            special or end > len(prompt) for (_, end), special in zip(spans, encoding.special_tokens_mask, strict=True)
        ]
        if self.end is not None and (not ids or ids[-1] != self.end):
            ids, spans, own = [*ids, self.end], [*spans, (0, 0)], [*own, True]
        labels = [number if mine else NO_LOSS for number, mine in zip(ids, own, strict=True)]
        return TokenRow(ids, labels, spans, prompt + text, lines.names[line], line, len(prompt))

    def rows(self, lines: Lines, too_long: str = "cut", packed: bool = False) -> list[TokenRow]:
        """All lines as rows of at most `max_length` tokens.

        Args:
            lines: of a split.
            too_long: `cut`, or `split` into several rows.
            packed: write lines one after another, and cut all of it into rows of `max_length`.

        Raises:
            UserError: naming a line of which no token is predicted.
        """
        rows = [self.row(lines, line) for line in range(len(lines))]
        if packed:
            return self._packed(rows)
        for row in rows:
            if not row.part(0, self.max_length if too_long == "cut" else len(row.ids)).predicts:
                why = (
                    f"its prompt alone has {self.max_length} tokens or more (data.max_length)"
                    if row.predicts
                    else "it is one token, or a prompt without a completion"
                )
                raise UserError(f"Every line must have a token that is predicted, found none in {row.name}: {why}.")
        longer = sum(len(row.ids) > self.max_length for row in rows)
        if longer:
            what = "cut to" if too_long == "cut" else "split into rows of"
            logger.info("%d of %d lines are %s %d tokens (data.max_length)", longer, len(rows), what, self.max_length)
        if too_long == "cut":
            return [row.part(0, self.max_length) for row in rows]
        return [part for row in rows for part in self._split(row)]

    def _split(self, row: TokenRow) -> list[TokenRow]:
        if len(row.ids) <= self.max_length:
            return [row]
        starts = range(0, len(row.ids), self.max_length)
        parts = [row.part(start, start + self.max_length) for start in starts]
        return [replace(part, name=f"{row.name}, part {n}") for n, part in enumerate(parts, 1) if part.predicts]

    def _packed(self, rows: Sequence[TokenRow]) -> list[TokenRow]:
        texts, owners, begin = list[str](), list[int](), 0
        ids, labels, spans = list[int](), list[int](), list[tuple[int, int]]()
        for number, row in enumerate(rows):
            moved = [(s + begin, e + begin) if e else (0, 0) for s, e in row.spans]
            texts.append(row.text)
            begin += len(row.text) + 1
            ids.extend(row.ids)
            labels.extend(row.labels)
            spans.extend(moved)
            owners.extend([number] * len(row.ids))
        every, result = TokenRow(ids, labels, spans, "\n".join(texts), "", 0), []
        for start in range(0, len(ids), self.max_length):
            part, own = every.part(start, start + self.max_length), owners[start : start + self.max_length]
            first, last = rows[own[0]].name, rows[own[-1]].name
            if part.predicts:
                name = first if first == last else f"{first} to {last}"
                result.append(replace(part, name=name, line=own[0]))
        return result

    def as_rows(self, rows: Sequence[TokenRow], index: Tensor) -> Rows:
        """Rows of tokens as tensors: `input_ids` and `attention_mask`, `[row, place]`, padded at their end.

        Args:
            rows: some of a split.
            index: `[row]`, each row's position in its split.
        """
        lengths = torch.tensor([len(row.ids) for row in rows])
        inputs = {"input_ids": padded([row.ids for row in rows], lengths, self.pad)}
        inputs["attention_mask"] = (torch.arange(inputs["input_ids"].shape[1]) < lengths[:, None]).long()
        return Rows(inputs, padded([row.labels for row in rows], lengths, NO_LOSS), index, lengths)


def paired(answers: Rows, others: Rows) -> Rows:
    """Rows of two sequences, `[row, 2, place]`: the answer, and another one that it is compared with.

    Args:
        answers: the rows' own sequences.
        others: of the same rows.
    """

    def both(one: Tensor, other: Tensor, filling: int) -> Tensor:
        places = max(one.shape[1], other.shape[1])
        parts = [torch.nn.functional.pad(t, (0, places - t.shape[1]), value=filling) for t in (one, other)]
        return torch.stack(parts, 1)

    assert isinstance(answers.inputs, dict) and isinstance(others.inputs, dict)
    inputs = {name: both(answers.inputs[name], others.inputs[name], 0) for name in answers.inputs}
    return Rows(inputs, both(answers.targets, others.targets, NO_LOSS), answers.index)
