"""Slow, obvious twins of the tangents of further training: single runs, one example at a time."""

import torch

from fimo.reference import gradients as naive


def effects(problem, optimizer, epochs, batch_size, seed, distance=1e-3, **options):
    """Central differences of test losses with respect to each example's weight, [step, test, left_out]."""
    found = []
    for i in problem.left_out:
        more, less = (
            naive.further_training(
                problem, optimizer, epochs, batch_size, "every_step", seed, left_out=int(i), weight=weight, **options
            )
            for weight in (distance, -distance)
        )
        found.append((more - less) / (2 * distance))
    return torch.stack(found, -1).numpy()


def least_squares(problem, lr, steps):
    """The tangents' effects after so many full-batch steps of a linear network by SGD, [test, left_out].

    The loss at a row x (with a one for the bias) is (x·θ − y)². With A = I − ηH and θ* the least squares solution,
    θ_s = θ* + Aˢ(θ_0 − θ*), and u_t = η/n Σ_{s<t} A^{t−1−s} ∇ℓ_i(θ_s).
    """
    X, y = with_one(problem.train.inputs), problem.train.targets[:, 0]
    test, aims = with_one(problem.test.inputs), problem.test.targets[:, 0]
    n = len(X)
    best = torch.linalg.lstsq(X, y[:, None]).solution[:, 0]
    A = torch.eye(X.shape[1], dtype=X.dtype) - lr * 2 * X.T @ X / n
    start = torch.cat([problem.network.weight[0], problem.network.bias]).detach()

    def theta(step):
        return best + torch.linalg.matrix_power(A, step) @ (start - best)

    gradients = 2 * (test @ theta(steps) - aims)[:, None] * test
    found = []
    for i in problem.left_out:
        u = sum(
            torch.linalg.matrix_power(A, steps - 1 - s) @ (2 * X[i] * (X[i] @ theta(s) - y[i])) for s in range(steps)
        )
        found.append(gradients @ u * lr / n)
    return torch.stack(found, -1).numpy()


def with_one(inputs):
    return torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], 1)
