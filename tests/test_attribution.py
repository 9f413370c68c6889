"""The equation, METHODS × PROBLEMS, against explicit matrices and loops."""

import naive
import numpy as np
import pytest
import torch
from methods import METHODS
from problems import problem

from fimo.attribution import attribute
from fimo.further_training.plan import Plan
from fimo.further_training.sweep import further_train

PROBLEMS = [
    ("regression", "mlp"),
    ("classification", "mlp"),
    ("regression", "linear"),
    ("classification", "convolutional"),
    ("regression", "convolutional"),
    ("classification", "transformer"),
]


@pytest.mark.parametrize("task, network", PROBLEMS)
@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    def test_equals_the_explicit_matrix(self, name, task, network):
        method, asked = METHODS[name], problem(task, network)
        scores = attribute(asked, method.make())
        assert scores.dims == ("test", "left_out") and scores.dtype == np.float64
        assert scores["left_out"].values.tolist() == asked.left_out.tolist()
        if method.only and network not in method.only:
            return
        expected = naive.scores(asked, method.matrix(asked), method.unit)
        np.testing.assert_allclose(scores, expected, rtol=method.rtol, atol=method.rtol * np.abs(expected).max())

    def test_independent_of_blocks_and_repeatable(self, name, task, network):
        make, asked = METHODS[name].make, problem(task, network)
        whole, again, blocks = (attribute(asked, make(), size) for size in (2**28, 2**28, 1))
        np.testing.assert_array_equal(whole, again)
        np.testing.assert_allclose(blocks, whole, rtol=1e-7, atol=1e-9 * np.abs(whole).max())

    def test_either_side_may_be_multiplied(self, name, task, network):
        """Scores of (test, left-out) are those of (left-out, test), transposed: P is symmetric where it says so."""
        method, asked = METHODS[name], problem(task, network, tests=9)
        rows, test = asked.train.keep(asked.left_out), asked.test
        assert len(test) > len(rows)
        turned = replace(asked, test=rows, train=asked.train, left_out=torch.arange(9))
        given = method.make()
        scores = attribute(asked, given)
        if not given.symmetric:
            assert name in ("LiSSA", "LiSSA-H")
            return
        P = method.make().fit(turned)
        source = GradientSource(turned, P.factored)
        other = (P @ P.phi(source(test))).products(P.phi(source(rows))) / len(asked.train)
        np.testing.assert_allclose(scores, other, rtol=1e-6, atol=1e-9 * np.abs(scores).max())

    def test_linear_in_the_gradients(self, name, task, network):
        """P(a·g_0 + b·g_1) = a·P g_0 + b·P g_1."""
        asked, method = problem(task, network), METHODS[name]
        P = method.make().fit(asked)
        source = GradientSource(asked, factored=False)
        flat = source(asked.test).flat()
        ...


def test_the_sign_and_size_of_grad_dot_are_those_of_one_further_step():
    """One full-batch step of size η without example i: the test loss rises by η · score, to first order."""
    question, lr = problem("regression", "mlp"), 1e-6
    plan = Plan(lambda p: torch.optim.SGD(p, lr=lr), epochs=1, batch_size=len(question.train), dtype=torch.float64)
    ((_, losses, _),) = further_train(question, plan, [0], lambda seed: True)
    effect = (losses["loss_left_out"] - losses["loss_full"]).isel(step=0)
    np.testing.assert_allclose(effect / lr, attribute(question, METHODS["Grad-Dot"].make()), rtol=1e-3)
