"""Baselines written out, a pair of examples at a time, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor


def random_score(seed: int, test: int, train: int) -> float:
    """The random score of a pair of examples, from the one block of the generator that it stands in.

    Args:
        seed: of the scores.
        test: position of the test example in its entire split.
        train: position of the training example in its entire split.

    Returns:
        A number in [−1, 1).
    """
    key, block, place = np.array([seed, test], dtype=np.uint64), train // 4, train % 4
    word = int(np.random.Philox(key=key, counter=block).random_raw(4)[place])
    return (word >> 11) / 2**53 * 2 - 1


def cosine(one: Tensor, other: Tensor) -> float:
    """The cosine of the angle between two vectors; 0 where one is 0.

    Args:
        one: `[feature]`.
        other: `[feature]`.
    """
    lengths = math.sqrt(sum(x * x for x in one.tolist())) * math.sqrt(sum(x * x for x in other.tolist()))
    return sum(x * y for x, y in zip(one.tolist(), other.tolist(), strict=True)) / lengths if lengths else 0.0


def bm25(query: Sequence[int], texts: Sequence[Sequence[int]], text: int, k1: float, b: float) -> float:
    """The relevance of one of several texts for a query, words that all texts have taken out of everything.

    Args:
        query: its words, those too that occur again.
        texts: the words of each text.
        text: which of the texts.
        k1: how slowly a word's further occurrences count less.
        b: how much longer texts are held back.
    """
    everywhere = set(texts[0]).intersection(*texts)
    texts = [[word for word in words if word not in everywhere] for words in texts]
    mean_length = sum(map(len, texts)) / len(texts)
    score = 0.0
    for word in query:
        having = sum(word in words for words in texts)
        if having == 0:
            continue
        rarity = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        times, longer = texts[text].count(word), len(texts[text]) / mean_length
        score += rarity * times / (times + k1 * (1 - b + b * longer))
    return score
