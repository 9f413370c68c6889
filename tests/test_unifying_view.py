"""The paper's claim itself, on least squares: further training is a gradient-based method, and T says which.

At the optimum of a quadratic loss, T full-batch steps of size η without example i move the parameters by
ηΣ_{t<T}(I − ηH)^t g_i/n, up to what leaving i out changes in H.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from methods import METHODS
from sklearn.datasets import load_diabetes
from torch import nn

from fimo.attribution import attribute
from fimo.comparison.agreement import cosine
from fimo.effect import average, effect
from fimo.further_training.seeds import train_seeds
from fimo.further_training.settings import FurtherTraining
from fimo.models.losses import SquaredError
from fimo.optimizers import LinearisedSGD
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.identity import Identity
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.problem import Problem
from fimo.reference import gradients as reference
from fimo.rows import Rows
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

RATE = 0.05
LEFT_OUT = torch.arange(0, 300, 12)


def least_squares(residual):
    """Diabetes, a linear network at its optimum; its training residuals times a factor."""
    inputs, targets = (torch.tensor(part, dtype=torch.float64) for part in load_diabetes(return_X_y=True, scaled=False))
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    targets = (targets - targets.mean()) / targets.std()
    train, test = slice(0, 400), slice(400, 442)
    design = torch.cat([inputs[train], torch.ones(400, 1, dtype=torch.float64)], 1)
    solution = torch.linalg.lstsq(design, targets[train, None]).solution
    network = nn.Linear(10, 1).double().eval()
    with torch.no_grad():
        network.weight.copy_(solution[:10].T), network.bias.copy_(solution[10])
    fitted = design @ solution
    shrunk = fitted + residual * (targets[train, None] - fitted)
    rows = Rows(inputs[train], shrunk, torch.arange(400))
    return Problem(network, SquaredError(), rows, Rows(inputs[test], targets[test, None], torch.arange(42)), LEFT_OUT)


@pytest.fixture(scope="module")
def question():
    """Training residuals so small that effects are linear in them."""
    return least_squares(1e-6)


def gold(question, steps):
    """The gold standard after each number of steps, [step, test, left_out], without centring."""
    plan = FurtherTraining(
        lambda p: torch.optim.SGD(p, lr=RATE),
        max(steps),
        len(question.train),
        "every_step",
        list(steps),
        None,
        torch.float64,
    )
    ((_, losses, _),) = train_seeds(question, plan, [0])
    return average(effect(losses.expand_dims("seed"), "full"), "full").values


def summed(matrix, steps):
    """P_T = ηΣ_{t<T}(I − ηH)^t, term by term."""
    total, power = torch.zeros_like(matrix), torch.eye(len(matrix), dtype=matrix.dtype)
    for _ in range(steps):
        total, power = total + RATE * power, power @ (torch.eye(len(matrix), dtype=matrix.dtype) - RATE * matrix)
    return total


def gradients(question):
    """Loss gradients of rows in closed form, 2(f − y)(x, 1); and the Hessian of each training row, 2(x, 1)(x, 1)ᵀ."""
    found = []
    for rows in (question.test, question.train):
        design = torch.cat([rows.inputs, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
        found.append(2 * (question.network(rows.inputs).detach() - rows.targets) * design)
    return *found, 2 * design[:, :, None] * design[:, None, :]


def mean_cosine(scores, effects):
    return float(cosine(np.asarray(scores), effects).mean())


class TestStepsAreAPreconditioner:
    @pytest.mark.parametrize("steps", [1, 2, 10, 300])
    def test_further_training_is_the_sum_with_the_hessian_of_what_is_left(self, question, steps):
        """Equal, but for the square of a displacement of size 1e-6."""
        test, train, hessians = gradients(question)
        n = len(train)
        expected = [test @ summed(hessians.mean(0) - hessians[i] / n, steps) @ train[i] / n for i in LEFT_OUT.tolist()]
        np.testing.assert_allclose(gold(question, [steps])[0], torch.stack(expected, 1), rtol=1e-4, atol=1e-13)

    @pytest.mark.parametrize("steps", [2, 10, 300])
    def test_and_nearly_that_with_the_hessian_of_all(self, question, steps):
        test, train, hessians = gradients(question)
        expected = test @ summed(hessians.mean(0), steps) @ train[LEFT_OUT].T / len(train)
        assert mean_cosine(expected, gold(question, [steps])[0]) > 0.999

    def test_one_step_is_grad_dot(self, question):
        np.testing.assert_allclose(
            gold(question, [1])[0], RATE * attribute(question, Identity("Grad-Dot")), rtol=1e-4, atol=1e-14
        )

    @pytest.mark.parametrize("steps", [1, 5, 50, 2000])
    def test_unrolled_gn_is_further_training_with_a_little_less_of_the_example(self, steps):
        few = replace(least_squares(1), left_out=LEFT_OUT[:3])
        method = UnrolledGaussNewton("Unrolled-GN").for_training(LinearisedSGD(np.full(steps, RATE), [steps]))
        expected = reference.weight_derivative(few, [RATE] * steps)
        np.testing.assert_allclose(
            attribute(few, method).sel(step=steps), expected, rtol=1e-6, atol=1e-6 * expected.max()
        )

    def test_many_steps_are_the_inverse_hessian(self, question):
        """For squared error the Gauss–Newton matrix is the Hessian."""
        scores = attribute(question, ExactGaussNewton("Exact-GN", Damping(1e-9)))
        assert mean_cosine(scores, gold(question, [1000])[0]) > 0.99
        assert mean_cosine(scores, gold(question, [1])[0]) < 0.95

    def test_lissa_with_full_batches_takes_the_same_steps(self, question):
        """Scale 1/η and depth T − 1: its recursion is further training."""
        test, train, hessians = gradients(question)
        method = NeumannSeries("LiSSA", "hessian", Damping(1e-12), 9, None, [1 / RATE])
        expected = test @ summed(hessians.mean(0), 10) @ train[LEFT_OUT].T / len(train)
        np.testing.assert_allclose(attribute(question, method), expected, rtol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_correlates_with_the_gold_standard(name, question):
    agreements = [
        mean_cosine(attribute(question, METHODS[name].make()), effects) for effects in gold(question, [1, 30])
    ]
    assert min(agreements) > 0.2, agreements


def test_the_exact_solution_approaches_it_as_damping_and_training_match(question):
    """After T steps of size η the best λ is near 1/(ηT): less training, more damping."""
    dampings = np.logspace(-3, 2, 21)
    exact = ExactGaussNewton("Exact-GN", Damping(1.0))
    scores = []
    for damping in dampings:
        exact.damping = Damping(float(damping))
        scores.append(attribute(question, exact).values)
    steps = [2, 20, 200]
    for number, effects in zip(steps, gold(question, steps), strict=True):
        agreements = [mean_cosine(score, effects) for score in scores]
        best = int(np.argmax(agreements))
        assert agreements[best] > 0.99, (number, agreements)
        assert 0.2 < dampings[best] * RATE * number < 5, (number, dampings[best])
        assert agreements[best] > max(agreements[0], agreements[-1]) + 1e-3
