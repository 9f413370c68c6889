"""BM25: how many rare words two texts share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fimo.baselines.places import TOKENS, first_sequence, own_places
from fimo.errors import MethodFailed, UserError
from fimo.problem import Problem
from fimo.rows import Rows, by_name


@dataclass(frozen=True)
class BM25:
    """The relevance of a training text for a test text, by their words alone (Robertson and Zaragoza 2009).

        score[j, i] = Σ_w log(1 + (n − n_w + ½)/(n_w + ½)) f_wi / (f_wi + k₁ (1 − b + b L_i/L))

    That is the form of Lucene. The sum is over the words w of the test text, as often as they occur in it; n_w of the n
    training texts have the word, text i has it f_wi times and L_i words in all, L on average. Words are numbers of
    tokens. Padding is none, and neither is a token that every training text has: a special one, or one that tells no
    text from another.

    Attributes:
        label: the method's name in legends and files.
        k1: how slowly a word's further occurrences count less.
        b: how much longer texts are held back, from 0 (not at all) to 1.

    Raises:
        UserError: for a k1 below 0 and a b outside of 0 to 1.
    """

    version: ClassVar[int] = 1

    label: str = "BM25"
    k1: float = 1.5
    b: float = 0.75

    def __post_init__(self) -> None:
        for key, value, highest in (("k1", self.k1, float("inf")), ("b", self.b, 1)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= highest:
                bound = "of at least 0" if key == "k1" else "from 0 to 1"
                raise UserError(f"method.bm25.{key} must be a number {bound}, found {value!r}.")

    def scores(self, problem: Problem) -> Tensor:
        """The scores of all left-out examples for all test examples.

        Args:
            problem: whose inputs are tokens: `input_ids` (with `attention_mask`), or one tensor of whole numbers `[row,
                place]` (with lengths, or a network that says which number is padding). All training rows are texts,
                whatever is left out.

        Returns:
            `[test, left_out]`, float64; of a group the sum over its rows.

        Raises:
            MethodFailed: for rows that are no text.
        """
        padding = [module.padding_idx for module in problem.network.modules() if isinstance(module, nn.Embedding)]
        ignored = [number for number in padding if number is not None]
        train, test = (self._texts(first_sequence(rows), ignored) for rows in (problem.train, problem.test))
        words, texts_with = np.unique(np.concatenate([np.unique(text) for text in train]), return_counts=True)
        words = words[texts_with < len(train)]
        if not len(words):
            raise MethodFailed(
                f"{self.label} needs training texts with different words, found none that some have and others have "
                "not: choose another method."
            )
        index = self._index([_numbered(text, words) for text in train], len(words))
        rows = problem.left_out.rows.numpy()
        values = np.stack([index.get_scores_from_ids(_numbered(text, words).tolist())[rows] for text in test])
        return problem.left_out.summed(torch.from_numpy(values))

    def _index(self, texts: Sequence[np.ndarray], words: int) -> Any:
        import bm25s  # which other methods don't need

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it writes a line for each index
        index = bm25s.BM25(self.k1, self.b, method="lucene", dtype="float64", backend="numpy")
        vocabulary = {number: number for number in range(words)}
        index.index(([text.tolist() for text in texts], vocabulary), create_empty_token=False, show_progress=False)
        return index

    def _texts(self, rows: Rows, padding: Sequence[int]) -> list[np.ndarray]:
        """The tokens of each row, `[word]`."""
        tokens = by_name(rows.inputs, TOKENS).get(TOKENS)
        if tokens is None or tokens.dim() != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool:
            raise MethodFailed(
                f"{self.label} needs texts: inputs with {TOKENS}, or whole numbers [row, place], found {rows}: choose "
                "another method for these data."
            )
        own = own_places(rows.inputs, rows.lengths)
        if own is None:
            own = torch.isin(tokens, torch.tensor(padding, device=tokens.device), invert=True)
        return [text[kept] for text, kept in zip(tokens.cpu().numpy(), own.cpu().numpy(), strict=True)]


def _numbered(text: np.ndarray, words: np.ndarray) -> np.ndarray:
    """The places of a text's words among all words, without those that are not among them."""
    places = np.searchsorted(words, text).clip(max=len(words) - 1)
    return places[words[places] == text]
