"""The made-up reviews: a grammar, its labels, nothing else."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fimo.data.reviews import DEGREES, GOOD, Reviews
from fimo.errors import UserError


def test_the_same_seed_gives_the_same_sentences_all_different():
    one, two, other = (Reviews(60, 15, seed).read(Path()) for seed in (0, 0, 1))
    assert one.train.text == two.train.text != other.train.text
    assert len(set(one.train.text + one.test.text)) == 75 and len(one.test.text) == 15


def test_labels_are_those_of_the_grammar_and_balanced():
    corpus = Reviews(600, 150).read(Path())
    by_length = sorted(DEGREES, key=len, reverse=True)
    for sentence, label in zip(corpus.train.text, corpus.train.labels, strict=True):
        value = 0.0
        for clause in re.split(" (?:but|and|,) (?=the )", sentence):
            degree = next(d for d in by_length if f" {d}" in clause)
            value += (1 if clause.split()[-1] in GOOD else -1) * DEGREES[degree]
        assert (value > 0) == label and value != 0
    counts = Counter(corpus.train.labels.tolist())
    assert 0.4 < counts[1] / 600 < 0.6


def test_words_alone_do_not_decide():
    """Counting good and bad adjectives is far from right."""
    corpus = Reviews(600, 150).read(Path())
    naive = [sum(word in GOOD for word in text.split()) * 2 > text.count("the ") for text in corpus.train.text]
    assert np.mean(np.array(naive) == corpus.train.labels) < 0.7


def test_too_few():
    with pytest.raises(UserError, match="needs train and test of at least 1, found 0 and 5"):
        Reviews(0, 5).read(Path())
