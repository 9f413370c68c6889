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
from fimo.optimizers import LinearisedAdam
from fimo.preconditioners.identity import Identity
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.unrolled.trajectory import RunState, Trajectory
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

STEPS, EPSILON = [1, 2, 5, 9], 1e-3
# In factors, as plain gradients, and with fewer parameters than the dual has rows.
NETWORKS = [("regression", "mlp"), ("classification", "convolutional"), ("classification", "linear")]


def somewhere(asked, count, size=0.05):
    """Parameters at some places around the final model."""
    generator = torch.Generator().manual_seed(0)
    draw = {
        name: size * torch.randn(count, *p.shape, generator=generator).to(p) for name, p in asked.parameters.items()
    }
    return [{name: p + draw[name][k] for name, p in asked.parameters.items()} for k in range(count)]


def states_somewhere(asked, count, squares=False):
    """A run made up: θ, and Adam's mean of squares, after each evaluated step."""
    places, generator = somewhere(asked, count), torch.Generator().manual_seed(1)
    return [
        RunState(
            there,
            {name: torch.rand(p.shape, generator=generator).to(p) ** 2 / 50 for name, p in asked.parameters.items()}
            if squares
            else None,
        )
        for there in places
    ]


def elsewhere(asked, parameters):
    network = copy.deepcopy(asked.network)
    network.load_state_dict(parameters, strict=False)
    return replace(asked, network=network)


def explicit_scores(asked, states, starts, step_of):
    """Step by step, the training gradient between two evaluated steps on the straight line between both.

    Args:
        asked: the problem at θ_f.
        states: of the run.
        starts: positions of the evaluated steps that segments begin with.
        step_of: the new deviation and velocity of step, deviation, velocity, gradient and the segment's D.
    """
    place, begin, scores = asked, 0, []
    _, before = reference.gradients(asked)
    u, v = torch.zeros_like(before.T), torch.zeros_like(before.T)
    for number, (end, state) in enumerate(zip(STEPS, states, strict=True)):
        if number in starts:
            G = dense.gauss_newton(place)
            inside = states[number : min([s for s in starts if s > number], default=len(STEPS))]
            squares = [s.mean_squares and torch.cat([p.flatten() for p in s.mean_squares.values()]) for s in inside]
            scale = None if squares[0] is None else 1 / (torch.stack(squares).mean(0).sqrt() + EPSILON)
        place = elsewhere(asked, state.parameters)
        test, after = reference.gradients(place)
        mean = (end - begin - 1) / (2 * (end - begin))
        for step in range(begin + 1, end + 1):
            u, v = step_of(step, u, v, G @ u - ((1 - mean) * before + mean * after).T, scale)
        scores.append((test @ u / len(asked.train)).numpy())
        before, begin = after, end
    return scores


SEGMENTS = {1: [0], 2: [0, 3], 9: [0, 1, 2, 3]}


@pytest.mark.parametrize("segments", SEGMENTS)
@pytest.mark.parametrize("momentum, decay", [(0.0, 0.0), (0.0, 0.3), (0.7, 0.3)])
@pytest.mark.parametrize("task, network", NETWORKS)
def test_equals_the_explicit_recursion(momentum, decay, task, network, segments):
    asked = problem(task, network)
    states = states_somewhere(asked, len(STEPS))
    settings = recursion(STEPS, weight_decay=decay, momentum=momentum)
    method = UnrolledGaussNewton("Unrolled-GN").for_training(settings)
    found = attribute(asked, method, views=Trajectory(states, segments))
    assert found.dims == ("step", "test", "left_out") and found["step"].values.tolist() == STEPS

    def sgd(step, u, v, gradient, scale):
        v = momentum * v + gradient + decay * u
        return u - RATE * v, v

    expected = explicit_scores(asked, states, SEGMENTS[segments], sgd)
    for end, scores in zip(STEPS, expected, strict=True):
        close(found.sel(step=end), scores)


@pytest.mark.parametrize("segments", SEGMENTS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("task, network", NETWORKS)
def test_equals_the_explicit_recursion_under_adam(decay, task, network, segments):
    """The diagonal of the run itself, its mean over the evaluated steps of a segment."""
    asked, rate, beta = problem(task, network), 0.002, 0.9
    states = states_somewhere(asked, len(STEPS), squares=True)
    settings = LinearisedAdam(np.full(STEPS[-1], rate), STEPS, beta, weight_decay=decay, batch_size=4, epsilon=EPSILON)
    method = UnrolledGaussNewton("Unrolled-GN").for_training(settings)
    found = attribute(asked, method, views=Trajectory(states, segments))

    def adamw(step, u, v, gradient, scale):
        v = beta * v + (1 - beta) * gradient
        return u - rate * decay * u - rate * scale[:, None] * v / (1 - beta**step), v

    for end, scores in zip(STEPS, explicit_scores(asked, states, SEGMENTS[segments], adamw), strict=True):
        close(found.sel(step=end), scores)


def test_on_least_squares_it_is_further_training_with_a_little_less_of_the_example():
    """Away from the optimum, full batches, evaluated after every step: the derivative of the run itself."""
    asked, steps = problem("regression", "linear"), list(range(1, 51))
    plan = FurtherTraining(
        lambda p: torch.optim.SGD(p, RATE), 50, len(asked.train), evaluate_every=steps, dtype=torch.float64
    )
    method = UnrolledGaussNewton("Unrolled-GN").for_training(recursion(steps))
    found = attribute(asked, method, views=Trajectory([RunState(*place) for place in full_run(asked, plan, 0)]))
    for step in (1, 5, 50):
        close(found.sel(step=step), reference.weight_derivative(asked, [RATE] * step), rtol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_full_run_is_that_of_the_gold_standard(clip):
    asked = problem("classification", "mlp")
    plan = FurtherTraining(
        lambda p: torch.optim.Adam(p, 0.01), 3, 5, evaluate_every=[2, 7, 9], clip=clip, dtype=torch.float64
    )
    ((_, losses, _),) = train_seeds(asked, plan, [3])
    states = list(full_run(asked, plan, 3))
    assert len(states) == 3
    for place, (parameters, squares) in enumerate(states):
        assert {name: p.shape for name, p in squares.items()} == {name: p.shape for name, p in parameters.items()}
        with torch.no_grad():
            expected = asked.objective.loss(asked.outputs(parameters, asked.test.inputs), asked.test.targets)
        np.testing.assert_allclose(losses["loss_full"][place], expected, rtol=1e-12)


def test_squares_are_those_of_a_run_of_torch():
    asked = problem("classification", "mlp", left_out=(0,))
    plan = FurtherTraining(
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.9, 0.95)),
        3,
        len(asked.train),
        evaluate_every=[1, 3],
        dtype=torch.float64,
    )
    network = copy.deepcopy(asked.network)
    optimizer, squares = torch.optim.Adam(network.parameters(), 0.01, betas=(0.9, 0.95)), []
    for step in (1, 2, 3):
        optimizer.zero_grad()
        asked.objective.loss(network(asked.train.inputs), asked.train.targets).mean().backward()
        optimizer.step()
        state = [optimizer.state[p]["exp_avg_sq"] / (1 - 0.95**step) for p in network.parameters()]
        squares.append(dict(zip(asked.parameters, state, strict=True)))
    for (_, found), expected in zip(full_run(asked, plan, 0), (squares[0], squares[2]), strict=True):
        for name, square in expected.items():
            np.testing.assert_allclose(found[name], square, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("adam", [False, True])
def test_curvature_over_some_of_the_rows_stays_so_in_later_segments(adam):
    asked = problem("regression", "mlp")
    states = states_somewhere(asked, len(STEPS), squares=adam)
    settings = LinearisedAdam(np.full(9, 0.002), STEPS, 0.9, batch_size=4) if adam else recursion(STEPS)
    made = UnrolledGaussNewton("Unrolled-GN", 8).for_training(settings)
    expected = attribute(asked, made, views=Trajectory(states, 2))
    views, method = Trajectory(states, 2), UnrolledGaussNewton("Unrolled-GN").for_training(settings)
    views.prepare(method)
    assert method.in_segment and (method.fixed_metric is not None) == adam
    np.testing.assert_allclose(attribute(asked, method, views=views, curvature_rows=8), expected, rtol=1e-12)
    whole = attribute(asked, method, views=views)
    assert float(abs(whole - expected).max()) > 1e-6 * float(abs(whole).max())


def test_what_it_needs():
    asked = problem("regression", "mlp")
    states = states_somewhere(asked, len(STEPS))
    with pytest.raises(UserError, match="path=true of Grad-Dot needs Unrolled-GN: choose moved=both"):
        attribute(asked, Identity("Grad-Dot"), views=Trajectory(states))
    with pytest.raises(UserError, match="A trajectory under Adam needs the mean of squares of each of its states"):
        adam = LinearisedAdam(np.full(9, 0.002), STEPS, 0.9)
        attribute(asked, UnrolledGaussNewton("Unrolled-GN").for_training(adam), views=Trajectory(states))
    with pytest.raises(UserError, match="path=true of Unrolled-GN needs the eigendecomposition .* raise it"):
        attribute(
            asked,
            UnrolledGaussNewton("Unrolled-GN", dual_bytes=0).for_training(recursion(STEPS)),
            views=Trajectory(states),
        )
