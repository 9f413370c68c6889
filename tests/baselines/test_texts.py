"""BM25 of whatever form texts have."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pairs import scores, table
from problems import Sentences, text_problem
from torch import nn

import fimo
from fimo.baselines.bm25 import BM25
from fimo.models.losses import OBJECTIVES
from fimo.reference.baselines import bm25
from fimo.rows import Rows


def texts(rows):
    return [row[:length].tolist() for row, length in zip(rows.inputs["input_ids"], rows.lengths, strict=True)]


def framed(question):
    """The same with a special token in front of each text and one behind it, which then has padding."""

    def frame(rows):
        framed = [[90, *text, 91] for text in texts(rows)]
        longest = max(map(len, framed))
        tokens = torch.tensor([text + [0] * (longest - len(text)) for text in framed])
        mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in framed])
        return Rows({"input_ids": tokens, "attention_mask": mask}, rows.targets, rows.index, rows.lengths + 2)

    network = Sentences(3)
    network.embed = nn.Embedding(92, 4)
    train, test = (frame(rows) for rows in (question.train, question.test))
    return fimo.Problem(network, OBJECTIVES["classification"], train, test, question.left_out)


FORMS = {
    "mask and lengths": lambda question: question,
    "special tokens": framed,
    "mask": lambda question: replace(
        question, train=replace(question.train, lengths=None), test=replace(question.test, lengths=None)
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k1, b", [(1.5, 0.75), (0.4, 0.0), (3, 1)])
def test_bm25_is_that_of_the_words_alone(form, k1, b):
    question = text_problem()
    train, test = texts(question.train), texts(question.test)
    expected = table(question, lambda j, i: bm25(test[j], train, i, k1, b))
    assert (expected > 0).any()
    np.testing.assert_allclose(scores(FORMS[form](question), BM25(k1=k1, b=b)), expected, rtol=1e-12)


class Bag(nn.Module):
    """A mean over all places, padding too where nothing says that it is padding."""

    def __init__(self, padding):
        super().__init__()
        self.embed, self.head = nn.Embedding(12, 4, padding_idx=padding), nn.Linear(4, 3)

    def forward(self, tokens):
        return self.head(self.embed(tokens).sum(1))


@pytest.mark.parametrize("padding", [0, None])
def test_bm25_of_whole_numbers(padding):
    """Without lengths the network says what padding is, or nobody does."""
    question = text_problem()
    train, test = (
        rows.inputs["input_ids"].tolist() if padding is None else texts(rows)
        for rows in (question.train, question.test)
    )
    expected = table(question, lambda j, i: bm25(test[j], train, i, 1.5, 0.75))
    examples = [(rows.inputs["input_ids"], rows.targets) for rows in (question.train, question.test)]
    plain = fimo.Problem(Bag(padding), fimo.CrossEntropy(), *examples, question.left_out)
    np.testing.assert_allclose(scores(plain, "bm25"), expected, rtol=1e-12)
