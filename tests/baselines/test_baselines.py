"""Baselines against their slow twins, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pairs import scores, table, with_left_out
from problems import NETWORKS, NoLayers, Sentences, problem, text_problem
from torch import nn

import fimo
from fimo.baselines.bm25 import BM25
from fimo.baselines.random_scores import RandomScores
from fimo.groups import Groups
from fimo.reference.baselines import cosine, random_score

LABELS = {"random": "Random", "embedding": "Embedding", "bm25": "BM25"}


@pytest.mark.parametrize("seed", [0, 7, 2**63])
def test_random_scores_belong_to_pairs_of_positions(seed):
    question = problem()
    expected = table(question, lambda j, i: random_score(seed, j, i))
    np.testing.assert_array_equal(scores(question, RandomScores(seed=seed)), expected)
    kept = replace(question, train=question.train.keep(torch.arange(3, 23, 4)), left_out=Groups.of([4, 0], 5))
    moved = replace(kept, test=question.test.keep(torch.tensor([2])))
    place = {"test": 2, "left_out": [19, 3]}  # positions in the entire splits
    values = fimo.attribute(moved, [RandomScores(seed=seed)])["Random"]
    assert values["left_out"].values.tolist() == place["left_out"]
    np.testing.assert_array_equal(values.values[0], [random_score(seed, 2, i) for i in place["left_out"]])


def test_random_scores_are_uniform_and_know_nothing_of_each_other():
    question = problem(rows=400, tests=50)
    values = scores(with_left_out(question, "all"), "random")
    assert abs(values.mean()) < 0.02 and abs(values.std() - 3**-0.5) < 0.01 and np.abs(values).max() <= 1
    for one, other in ((values[:-1], values[1:]), (values[:, :-1], values[:, 1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03
    other = scores(with_left_out(question, "all"), RandomScores(seed=1))
    assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.03


HIDDEN = {
    "mlp": lambda network, inputs: network.linear_relu_stack[:-1](inputs),
    "linear": lambda network, inputs: inputs,
    "convolutional": lambda network, inputs: network.body(inputs[:, None, None]),
    "dropout": lambda network, inputs: network[:-1](inputs),
    "transposed": lambda network, inputs: torch.tanh(inputs @ network.weight.T),
    "vmap-shy": lambda network, inputs: network.mlp.linear_relu_stack[:-1](inputs),
}


@torch.no_grad()
@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("network", HIDDEN)
def test_embeddings_are_the_inputs_of_the_last_layer(network, task, monkeypatch):
    monkeypatch.setattr("fimo.baselines.embedding.BLOCK_ROWS", 3)
    question = problem(task, network)
    train, test = (HIDDEN[network](question.network, rows.inputs) for rows in (question.train, question.test))
    expected = table(question, lambda j, i: cosine(test[j], train[i]))
    np.testing.assert_allclose(scores(question, "embedding"), expected, rtol=1e-12, atol=1e-14)
    assert network in NETWORKS and np.abs(expected).max() <= 1 + 1e-12


class TokenWise(Sentences):
    """The last layer is applied to each token."""

    def forward(self, inputs):
        mask = inputs["attention_mask"][..., None]
        return (self.head(self.embed(inputs["input_ids"])) * mask).sum(1) / mask.sum(1)


@torch.no_grad()
def test_embeddings_of_sentences_are_means_over_their_own_tokens(monkeypatch):
    monkeypatch.setattr("fimo.baselines.embedding.BLOCK_ROWS", 3)
    question = text_problem(TokenWise)

    def hidden(rows, row):
        return question.network.embed(rows.inputs["input_ids"][row, : rows.lengths[row]]).mean(0)

    expected = table(question, lambda j, i: cosine(hidden(question.test, j), hidden(question.train, i)))
    np.testing.assert_allclose(scores(question, "embedding"), expected, rtol=1e-12)
    first = text_problem()
    values = scores(first, "embedding")
    assert values.shape == (4, 3) and np.isfinite(values).all()


def test_a_row_without_features_has_the_score_0():
    question = problem()
    with torch.no_grad():
        for parameter in list(question.network.parameters())[:4]:
            parameter.zero_()
    assert (scores(question, "embedding") == 0).all()


class Flattened(nn.Module):
    """Features of both halves of each row, one below the other."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 1)

    def forward(self, inputs):
        return self.head(inputs[:, :4].reshape(-1, 2)).reshape(len(inputs), 2).sum(1, keepdim=True)


class Numbers(nn.Module):
    """The last layer takes whole numbers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 3)

    def forward(self, inputs):
        return self.embed(inputs).sum(1)


def brought(network, inputs=None, targets=None):
    inputs = torch.randn(8, 5) if inputs is None else inputs
    targets = torch.randint(2, (8,)) if targets is None else targets
    return fimo.Problem(network, fimo.CrossEntropy(), (inputs, targets), (inputs, targets), [0, 3])


@pytest.mark.parametrize(
    "method, question, text",
    [
        (
            "embedding",
            lambda: brought(NoLayers(5, 2)),
            "Embedding needs a last layer, .* the network NoLayers has none",
        ),
        (
            "embedding",
            lambda: fimo.Problem(Flattened(), fimo.SquaredError(), *[(torch.randn(8, 5), torch.randn(8))] * 2, [0]),
            "Embedding needs features of each row, found 16 of 8 rows as the input .* Linear: choose another method",
        ),
        (
            "embedding",
            lambda: brought(Numbers(), torch.randint(9, (8, 4))),
            "needs real numbers .* Embedding, found no",
        ),
        ("bm25", problem, r"BM25 needs texts: inputs with input_ids, .* found Rows\(inputs \[23, 5\], .*other method"),
        (
            "bm25",
            lambda: brought(Numbers(), torch.ones(8, 4, dtype=torch.long)),
            "BM25 needs training texts with different words, found none that some have and others have not",
        ),
    ],
)
def test_what_a_baseline_can_not_be_applied_to_is_its_own_failure(method, question, text):
    question = question()
    with pytest.raises(fimo.MethodFailed, match=text):
        fimo.attribute(question, [method])
    assert list(fimo.attribute(question, [method, "random"])) == ["Random"]


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: RandomScores(seed=-1), "method.random.seed must be a whole number from 0 to .*, found -1"),
        (lambda: RandomScores(seed="x"), "found 'x'"),
        (lambda: RandomScores(seed=0.5), "found 0.5"),
        (lambda: BM25(k1=-1), "method.bm25.k1 must be a number of at least 0, found -1"),
        (lambda: BM25(b=1.5), "method.bm25.b must be a number from 0 to 1, found 1.5"),
        (lambda: BM25(b="x"), "found 'x'"),
    ],
)
def test_settings_that_can_not_be(make, text):
    with pytest.raises(fimo.UserError, match=text):
        make()


@pytest.mark.parametrize("method", LABELS)
def test_all_rows_and_some_agree_and_groups_are_sums(method):
    question = text_problem()
    every = scores(with_left_out(question, "all"), method)
    np.testing.assert_allclose(scores(question, method), every[:, question.left_out.rows], rtol=1e-12)
    groups = [[0, 9, 16], [3], [9, 2]]
    expected = np.stack([every[:, group].sum(1) for group in groups], 1)
    values = fimo.attribute(with_left_out(question, groups), [method])[LABELS[method]]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert every.std() > 0
