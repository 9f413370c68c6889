"""Scores along a full run of further training, against explicit matrices and against further training itself."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import problem
from recursions import RATE, close, recursion

from fimo.attribution import attribute
from fimo.errors import UserError
from fimo.further_training.full_run import full_run
from fimo.further_training.seeds import train_seeds
from fimo.further_training.settings import FurtherTraining
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.unrolled.trajectory import Trajectory
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

STEPS = [1, 2, 5, 9]


def somewhere(asked, count, size=0.05):
    """Parameters at some places around the final model."""
    generator = torch.Generator().manual_seed(0)
    draw = {
        name: size * torch.randn(count, *p.shape, generator=generator).to(p) for name, p in asked.parameters.items()
    }
    return [{name: p + draw[name][k] for name, p in asked.parameters.items()} for k in range(count)]


def gradients_at(asked, parameters):
    network = copy.deepcopy(asked.network)
    network.load_state_dict(parameters, strict=False)
    return reference.gradients(replace(asked, network=network))


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("task, network", [("regression", "mlp"), ("classification", "convolutional")])
def test_equals_the_explicit_recursion(decay, task, network):
    """Step by step, the training gradient between two evaluated steps on the straight line between both."""
    asked = problem(task, network)
    way = somewhere(asked, len(STEPS))
    method = UnrolledGaussNewton("Unrolled-GN").for_training(recursion(STEPS, weight_decay=decay))
    found = attribute(asked, method, views=Trajectory(way))
    assert found.dims == ("step", "test", "left_out") and found["step"].values.tolist() == STEPS
    G = dense.gauss_newton(asked)
    _, before = gradients_at(asked, asked.parameters)
    u, begin = torch.zeros_like(before.T), 0
    for end, parameters in zip(STEPS, way, strict=True):
        test, after = gradients_at(asked, parameters)
        mean = (end - begin - 1) / (2 * (end - begin))
        for _ in range(begin, end):
            u = u - RATE * (G @ u + decay * u - ((1 - mean) * before + mean * after).T)
        close(found.sel(step=end), (test @ u / len(asked.train)).numpy())
        before, begin = after, end


def test_on_least_squares_it_is_further_training_with_a_little_less_of_the_example():
    """Away from the optimum, full batches, evaluated after every step: the derivative of the run itself."""
    asked, steps = problem("regression", "linear"), list(range(1, 51))
    plan = FurtherTraining(
        lambda p: torch.optim.SGD(p, RATE), 50, len(asked.train), evaluate_every=steps, dtype=torch.float64
    )
    method = UnrolledGaussNewton("Unrolled-GN").for_training(recursion(steps))
    found = attribute(asked, method, views=Trajectory(list(full_run(asked, plan, 0))))
    for step in (1, 5, 50):
        close(found.sel(step=step), reference.weight_derivative(asked, [RATE] * step), rtol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_full_run_is_that_of_the_gold_standard(clip):
    asked = problem("classification", "mlp")
    plan = FurtherTraining(
        lambda p: torch.optim.Adam(p, 0.01), 3, 5, evaluate_every=[2, 7, 9], clip=clip, dtype=torch.float64
    )
    ((_, losses, _),) = train_seeds(asked, plan, [3], lambda seed: True)
    way = list(full_run(asked, plan, 3))
    assert len(way) == 3
    for place, parameters in enumerate(way):
        with torch.no_grad():
            expected = asked.objective.loss(asked.outputs(parameters, asked.test.inputs), asked.test.targets)
        np.testing.assert_allclose(losses["loss_full"][place], expected, rtol=1e-12)


def test_what_it_needs():
    asked = problem("regression", "mlp")
    way = somewhere(asked, len(STEPS))
    with pytest.raises(UserError, match="path=true of Unrolled-GN needs SGD without momentum: choose moved=both"):
        attribute(
            asked,
            UnrolledGaussNewton("Unrolled-GN").for_training(recursion(STEPS, momentum=0.5)),
            views=Trajectory(way),
        )
    with pytest.raises(UserError, match="path=true of Unrolled-GN needs the eigendecomposition .* raise it"):
        attribute(
            asked,
            UnrolledGaussNewton("Unrolled-GN", dual_bytes=0).for_training(recursion(STEPS)),
            views=Trajectory(way),
        )
