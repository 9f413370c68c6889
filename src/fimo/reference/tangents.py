"""Slow, obvious twins of the tangents of further training: single runs, one example at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fimo.problem import Problem
from fimo.reference.further_training import Array, further_training


def effects(
    problem: Problem,
    optimizer: Callable[..., torch.optim.Optimizer],
    epochs: int,
    batch_size: int,
    seed: int,
    distance: float = 1e-3,
    **options: Any,
) -> Array:
    """Effects by central differences of test losses with respect to each left-out example's weight.

    Args:
        problem: what is trained on.
        optimizer: takes a list of parameters.
        epochs: of further training.
        batch_size: in rows.
        seed: of the order of rows.
        distance: of the two weights from that of the full run, in examples.
        options: see `fimo.reference.further_training.further_training`.

    Returns:
        `[step, test, left_out]`, in units of the loss.
    """
    columns = []
    for group in problem.left_out.lists:
        heavier, lighter = (
            further_training(
                problem, optimizer, epochs, batch_size, "every_step", seed, left_out=group, weight=weight, **options
            )
            for weight in (distance, -distance)
        )
        columns.append((heavier - lighter) / (2 * distance))
    return torch.stack(columns, -1).numpy()


def least_squares(problem: Problem, lr: float, steps: int) -> Array:
    """Effects after so many full-batch steps of a linear network by SGD, in closed form.

    The loss at a row x (with a one for the bias) is (x·θ − y)². With A = I − ηH and θ* the least squares solution,
    θ_s = θ* + Aˢ(θ_0 − θ*), and u_t = η/n Σ_{s<t} A^{t−1−s} ∇ℓ_i(θ_s).

    Args:
        problem: a linear network with one output and squared error.
        lr: η.
        steps: t.

    Returns:
        `[test, left_out]`, in units of the loss.
    """
    X, y = with_one(problem.train.inputs), problem.train.targets[:, 0]
    test, aims = with_one(problem.test.inputs), problem.test.targets[:, 0]
    n = len(X)
    best = torch.linalg.lstsq(X, y[:, None]).solution[:, 0]
    A = torch.eye(X.shape[1], dtype=X.dtype) - lr * 2 * X.T @ X / n
    assert isinstance(problem.network, torch.nn.Linear)
    start = torch.cat([problem.network.weight[0], problem.network.bias]).detach()

    def theta(step: int) -> Tensor:
        return best + torch.linalg.matrix_power(A, step) @ (start - best)

    gradients = 2 * (test @ theta(steps) - aims)[:, None] * test
    columns = []
    for i in problem.left_out.rows:
        u = sum(
            torch.linalg.matrix_power(A, steps - 1 - s) @ (2 * X[i] * (X[i] @ theta(s) - y[i])) for s in range(steps)
        )
        columns.append(gradients @ u * lr / n)
    return torch.stack(columns, -1).numpy()


def with_one(inputs: Any) -> Tensor:
    """Inputs `[row, feature]` with a last column of ones."""
    return torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], 1)
