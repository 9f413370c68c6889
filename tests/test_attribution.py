"""The equation, METHODS × PROBLEMS, against explicit matrices and loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from methods import METHODS
from problems import problem

from fimo.attribution import _columns, attribute
from fimo.errors import UserError
from fimo.further_training.seeds import train_seeds
from fimo.further_training.settings import FurtherTraining
from fimo.gradients import GradientSource
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.identity import Identity
from fimo.reference import gradients as reference

PROBLEMS = [
    ("regression", "mlp"),
    ("classification", "mlp"),
    ("regression", "linear"),
    ("classification", "convolutional"),
    ("regression", "convolutional"),
    ("classification", "transformer"),
    ("classification", "tied"),
]
# Part of θ: of layers in factors a part of which is frozen, and of plain gradients.
PARTS = [
    ("classification", "mlp", ["linear_relu_stack.0.weight", "linear_relu_stack.4.*"]),
    ("regression", "convolutional", ["body.0.weight", "head.bias"]),
]


# Properties that hold for each network alike are looked at on two: in factors, and as plain gradients.
TWO = [("classification", "mlp"), ("regression", "convolutional")]
# A method with explicit matrices for some networks only is compared on those.
# LiSSA-H takes most of a minute on the transformer, which stands among the slow ones.
COMPARED = [
    pytest.param(name, task, network, marks=pytest.mark.slow if (name, network) == ("LiSSA-H", "transformer") else ())
    for name, method in METHODS.items()
    for task, network in PROBLEMS
    if not method.only or network in method.only
]


@pytest.mark.parametrize("name, task, network", COMPARED)
def test_equals_the_explicit_matrix(name, task, network):
    method, asked = METHODS[name], problem(task, network)
    scores = attribute(asked, method.make())
    assert scores.dims == ("test", "left_out") and scores.dtype == np.float64
    assert scores["left_out"].values.tolist() == asked.left_out.rows.tolist()
    expected = reference.scores(asked, method.matrix(asked), method.unit)
    np.testing.assert_allclose(scores, expected, rtol=method.rtol, atol=method.rtol * np.abs(expected).max())


@pytest.mark.parametrize("task, network, parameters", PARTS)
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.only])
def test_equals_the_explicit_matrix_of_a_part_of_theta(name, task, network, parameters):
    method, asked = METHODS[name], problem(task, network, parameters=parameters)
    assert 0 < asked.size < problem(task, network).size
    scores, expected = attribute(asked, method.make()), reference.scores(asked, method.matrix(asked), method.unit)
    np.testing.assert_allclose(scores, expected, rtol=method.rtol, atol=method.rtol * np.abs(expected).max())


@pytest.mark.parametrize("task, network", TWO)
@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    def test_independent_of_blocks_and_repeatable(self, name, task, network):
        make, asked = METHODS[name].make, problem(task, network)
        whole, again, blocks = (attribute(asked, make(), block_bytes=size) for size in (2**28, 2**28, 1))
        np.testing.assert_array_equal(whole, again)
        np.testing.assert_allclose(blocks, whole, rtol=1e-7, atol=1e-9 * np.abs(whole).max())

    def test_transposed_and_homogeneous(self, name, task, network):
        """(P g)·h = g·(Pᵀ h), and only LiSSA with batches isn't its own transpose."""
        asked = problem(task, network)
        P = METHODS[name].make().fit(asked)
        g = GradientSource(asked, P.factored)(asked.test)
        products, transposed = (P @ g).inner(g), (P.T @ g).inner(g)
        size = products.abs().max().item()
        np.testing.assert_allclose(products, transposed.T, rtol=1e-7, atol=1e-9 * size)
        assert (P.T is P) == (not name.startswith("LiSSA")) and P.T.T is P
        if P.T is not P:
            assert (products - products.T).abs().max() > 1e-6 * size
        doubled = (P @ g.scaled(torch.full((len(asked.test),), 2.0))).inner(g)
        np.testing.assert_allclose(doubled, 2 * products, rtol=1e-7, atol=1e-9 * size)

    def test_with_more_test_than_left_out_examples(self, name, task, network):
        """The other side is multiplied then, where P is symmetric."""
        asked, make = problem(task, network, tests=7), METHODS[name].make
        few = replace(asked, test=asked.test.keep(slice(0, 4)))
        scores = attribute(asked, make())[:4]
        np.testing.assert_allclose(scores, attribute(few, make()), rtol=1e-6, atol=1e-9 * np.abs(scores).max())


def test_the_sign_and_size_of_grad_dot_are_those_of_one_further_step():
    """One full-batch step of size η without example i: the test loss rises by η · score, to first order."""
    question, lr = problem("regression", "mlp"), 1e-6
    plan = FurtherTraining(torch.optim.SGD, epochs=1, batch_size=len(question.train), dtype=torch.float64, lr=lr)
    ((_, losses, _),) = train_seeds(question, plan, [0])
    effect = (losses["loss_left_out"] - losses["loss_full"]).isel(step=0)
    np.testing.assert_allclose(effect / lr, attribute(question, METHODS["Grad-Dot"].make()), rtol=1e-3)


@pytest.mark.parametrize("left_out", [[], [0, 23], [-1]])
def test_left_out_rows_that_are_not_there(left_out):
    with pytest.raises(UserError, match="left_out must name training rows from 0 to 22, found"):
        problem(left_out=left_out)


def test_rows_of_different_lengths():
    rows = problem().train
    with pytest.raises(UserError, match=r"targets and index of rows must be equally many, found \[23, 4, 23\]"):
        replace(rows, targets=rows.targets[:4])


@pytest.mark.parametrize("name", METHODS)
def test_curvature_over_some_of_the_rows(name):
    """P is that of every third row, the left-out examples and the 1/n are those of all rows."""
    method, question = METHODS[name], problem("classification", rows=24)
    some = replace(question, train=question.train.keep(slice(0, None, 3)), left_out=torch.tensor([0]))
    made = method.make()
    scores = attribute(question, made, curvature_rows=8)
    expected = reference.scores(question, method.matrix(some), method.unit)
    np.testing.assert_allclose(scores, expected, rtol=10 * method.rtol, atol=10 * method.rtol * np.abs(expected).max())
    assert made.notes.get("rows") == (None if name.startswith("Grad") else "curvature over 8 of 24 training rows")


def test_sentences_are_sampled_shortest_first():
    """Means over training rows don't depend on their order, and blocks of them need less padding so."""
    question = problem(rows=6, left_out=(0, 3))
    lengths = torch.tensor([3, 1, 2, 3, 1, 2])
    sentences = replace(question, train=replace(question.train, inputs=question.train.inputs[:, :3], lengths=lengths))
    assert sentences.sampled(None).train.index.tolist() == [1, 4, 2, 5, 0, 3]
    assert sentences.sampled(3).train.index.tolist() == [4, 2, 0]
    assert question.sampled(None) is question and question.sampled(3).train.index.tolist() == [0, 2, 4]


def test_rows_of_a_block_are_bounded_by_columns_of_the_curvature_alone():
    """Else methods without one took a few rows of a language model at a time, since it has so many outputs."""
    question = problem("classification")
    (outputs,) = question.outputs(question.parameters, question.train[slice(0, 1)][0]).shape[1:]
    columns = {
        curvature: _columns(ConjugateGradients("CG", Damping(1), curvature=curvature), question)
        for curvature in ("exact", "sampled", "empirical_fisher")
    }
    assert columns == {"exact": outputs, "sampled": 1, "empirical_fisher": 1} and outputs > 1
    assert _columns(Identity("Grad-Dot"), question) == 0
