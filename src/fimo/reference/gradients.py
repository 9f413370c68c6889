"""Slow, obvious twins of gradients and scores: one example at a time, explicit loops."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from fimo.models.objective import Objective
from fimo.models.parameter_choice import theta_of
from fimo.problem import Problem
from fimo.reference.further_training import Array
from fimo.rows import Inputs, map_inputs


def gradient(problem: Problem, inputs: Inputs, target: Tensor, objective: Objective | None = None) -> Tensor:
    """Gradient of the loss, or of another objective, at one example, by autograd.

    Args:
        problem: its network and objective.
        inputs: of the example, without an axis of rows.
        target: of the example.
        objective: None for the problem's.

    Returns:
        `[param]`.
    """
    objective = objective or problem.objective
    network = copy.deepcopy(problem.network).eval() if problem.network.training else problem.network
    loss = objective.loss(network(map_inputs(lambda tensor: tensor[None], inputs)), target[None]).sum()
    theta = list(theta_of(network).values())
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, theta, materialize_grads=True)])


def gradients(problem: Problem) -> tuple[Tensor, Tensor]:
    """Gradients of the test examples `[test, param]` and of single left-out ones `[left_out, param]`, one by one."""
    test = [gradient(problem, *problem.test[torch.tensor(j)], problem.watched) for j in range(len(problem.test))]
    train = [gradient(problem, *problem.train[i]) for i in problem.left_out.rows]
    return torch.stack(test), torch.stack(train)


def scores(problem: Problem, matrix: Tensor | None, unit: bool = False) -> Array:
    """Scores with an explicit matrix P, pair by pair: score[j, i] = φ(g_j)ᵀ P φ(g_i) / n.

    Args:
        problem: gives the gradients.
        matrix: P, `[param, param]`; None for the identity.
        unit: whether φ scales gradients to unit length.

    Returns:
        `[test, left_out]`, in units of the loss where φ is the identity.
    """
    test, train = gradients(problem)
    result = torch.zeros(len(test), len(train), dtype=test.dtype)
    for j, g_j in enumerate(test):
        for i, g_i in enumerate(train):
            if unit:
                g_j, g_i = g_j / torch.linalg.norm(g_j), g_i / torch.linalg.norm(g_i)
            result[j, i] = g_j @ (g_i if matrix is None else matrix @ g_i) / len(problem.train)
    return result.numpy()


def weight_derivative(problem: Problem, rates: Sequence[float], change: float = 1e-4) -> Array:
    """The effect that full-batch gradient descent makes of a little less weight of each left-out example.

    Args:
        problem: what is trained on, in float64.
        rates: the learning rate of each step.
        change: of the weight, for central differences; the result is for a whole example less.

    Returns:
        `[test, left_out]`, in units of the loss.
    """
    n, columns = len(problem.train), []
    for i in problem.left_out.rows.tolist():
        losses = []
        for less in (change, -change):
            network = copy.deepcopy(problem.network)
            weights = torch.full((n,), 1 / n, dtype=torch.float64)
            weights[i] -= less / n
            for rate in rates:
                network.zero_grad()
                (weights @ problem.objective.loss(network(problem.train.inputs), problem.train.targets)).backward()
                with torch.no_grad():
                    for parameter in theta_of(network).values():
                        assert parameter.grad is not None
                        parameter.sub_(rate * parameter.grad)
            with torch.no_grad():
                losses.append(problem.watched.loss(network(problem.test.inputs), problem.test.targets))
        columns.append((losses[0] - losses[1]) / (2 * change))
    return torch.stack(columns, 1).numpy()
