"""The equation, METHODS × PROBLEMS, against explicit loops."""

import naive
import numpy as np
import pytest
import torch
from problems import problem

from fimo.attribution import attribute
from fimo.further_training.plan import Plan
from fimo.further_training.sweep import further_train
from fimo.preconditioners.identity import Identity

# label: (the method, the explicit matrix P of a problem, whether φ scales to unit length)
METHODS = {
    "Grad-Dot": (lambda: Identity("Grad-Dot"), lambda question: None, False),
    "Grad-Cos": (lambda: Identity("Grad-Cos", phi="unit_length"), lambda question: None, True),
}
PROBLEMS = {
    "regression, mlp": lambda: problem("regression", "mlp"),
    "classification, mlp": lambda: problem("classification", "mlp"),
    "classification, convolutional": lambda: problem("classification", "convolutional"),
    "regression, one linear layer": lambda: problem("regression", "linear"),
}


@pytest.mark.parametrize("question", PROBLEMS)
@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_equals_the_explicit_matrix(self, method, question):
        make, matrix, unit = METHODS[method]
        asked = PROBLEMS[question]()
        scores = attribute(asked, make())
        assert scores.dims == ("test", "left_out") and scores.dtype == np.float64
        assert scores["left_out"].values.tolist() == asked.left_out.tolist()
        np.testing.assert_allclose(scores, naive.scores(asked, matrix(asked), unit), rtol=1e-10, atol=1e-15)

    def test_independent_of_blocks_and_repeatable(self, method, question):
        make, *_ = METHODS[method]
        asked = PROBLEMS[question]()
        whole, again, blocks = (attribute(asked, make(), size) for size in (2**28, 2**28, 1))
        np.testing.assert_array_equal(whole, again)
        np.testing.assert_allclose(blocks, whole, rtol=1e-10, atol=1e-16)


def test_the_sign_and_size_of_grad_dot_are_those_of_one_further_step():
    """One full-batch step of size η without example i: the test loss rises by η · score, to first order."""
    question, lr = problem("regression", "mlp"), 1e-6
    plan = Plan(lambda p: torch.optim.SGD(p, lr=lr), epochs=1, batch_size=len(question.train), dtype=torch.float64)
    ((_, losses, _),) = further_train(question, plan, [0], lambda seed: True)
    effect = (losses["loss_left_out"] - losses["loss_full"]).isel(step=0)
    np.testing.assert_allclose(effect / lr, attribute(question, METHODS["Grad-Dot"][0]()), rtol=1e-3)
