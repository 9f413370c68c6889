"""The slow, obvious twins of the curvature: dense matrices over all parameters, float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fimo.models.losses import AbsoluteError, CrossEntropy, SquaredError
from fimo.problem import Problem
from fimo.reference.gradients import gradient


def flat_outputs(problem: Problem, inputs: Any) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Outputs as a function of one flat vector of parameters, and that vector at the final model.

    Args:
        problem: its network.
        inputs: of some rows, `[row, …]`.

    Returns:
        A function from `[param]` to `[row, output]`, and θ_f `[param]`.
    """
    shapes = {name: parameter.shape for name, parameter in problem.parameters.items()}
    theta = torch.cat([parameter.flatten() for parameter in problem.parameters.values()])

    def outputs(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes.values()])
        blocks = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return torch.func.functional_call(problem.network, blocks, (inputs,))

    return outputs, theta


def jacobians(problem: Problem) -> Tensor:
    """Jacobians J_k of the outputs at each training row, `[row, output, param]`."""
    return torch.stack(
        [
            torch.autograd.functional.jacobian(*flat_outputs(problem, problem.train[k : k + 1][0])).squeeze(0)
            for k in range(len(problem.train))
        ]
    )


def row_weights(problem: Problem) -> Tensor:
    """How often each training row counts, `[row]`: ones where they have no weights."""
    weights = problem.train.weights
    return torch.ones(len(problem.train), dtype=torch.float64) if weights is None else weights


def unweighted(problem: Problem) -> Problem:
    """The same question of rows that all count once."""
    return replace(problem, train=problem.train.plain, test=problem.test.plain)


def is_regression(problem: Problem) -> bool:
    """Whether targets are numbers rather than classes."""
    return problem.train.targets.is_floating_point()


def output_hessian(problem: Problem, k: int) -> Tensor:
    """The loss's curvature in the outputs at one training example: the positive part of its Hessian ∂²ℓ/∂f².

    The squared error's and the cross-entropy's by their closed forms; the absolute error's is the outer product of its
    gradient; any other loss's by autograd. All times the row's weight.

    Args:
        problem: with any objective.
        k: the training row.

    Returns:
        `[output, output]`.
    """
    if problem.train.weights is not None:
        return problem.train.weights[k] * output_hessian(unweighted(problem), k)
    row, target = problem.train[k : k + 1]
    with torch.no_grad():
        f = problem.network(row)[0]
    objective = problem.objective
    if type(objective) is SquaredError:
        return torch.eye(len(f), dtype=f.dtype) * 2 / len(f)
    if type(objective) is CrossEntropy and objective.weight is None and objective.label_smoothing == 0:
        p = torch.softmax(f, 0)
        return torch.diag(p) - torch.outer(p, p)
    if type(objective) is AbsoluteError:
        sign = torch.sign(f - target[0]) / len(f)
        return torch.outer(sign, sign)
    hessian = torch.autograd.functional.hessian(lambda some: objective.loss(some[None], target)[0], f)
    values, vectors = torch.linalg.eigh(hessian)
    return vectors @ torch.diag(values.clamp(min=0)) @ vectors.T


def gauss_newton(problem: Problem, rows: Sequence[int] | None = None) -> Tensor:
    """Gauss–Newton matrix G: the mean over training rows of J_kᵀ H_k J_k.

    Args:
        problem: gives J_k and H_k.
        rows: of the training split, all by default; repeated ones count again.

    Returns:
        `[param, param]`.
    """
    J = jacobians(problem)
    rows = range(len(problem.train)) if rows is None else rows
    return sum((J[k].T @ output_hessian(problem, k) @ J[k] for k in rows), torch.zeros(())) / len(rows)


def empirical_fisher(problem: Problem, rows: Sequence[int] | None = None) -> Tensor:
    """Empirical Fisher matrix: the mean over training rows of w_k g_k g_kᵀ, g_k the gradient of the loss.

    Args:
        problem: gives g_k, and weights w_k where rows have some.
        rows: of the training split, all by default; repeated ones count again.

    Returns:
        `[param, param]`.
    """
    g = fisher_rows(problem)
    g = g if rows is None else g[list(rows)]
    return g.T @ g / len(g)


def hessian(problem: Problem, rows: Sequence[int] | None = None) -> Tensor:
    """Hessian H of the mean loss over training rows.

    Args:
        problem: gives the loss.
        rows: of the training split, all by default.

    Returns:
        `[param, param]`.
    """
    index = torch.arange(len(problem.train)) if rows is None else torch.tensor(list(rows))
    inputs, targets = problem.train[index]
    outputs, theta = flat_outputs(problem, inputs)
    return torch.autograd.functional.hessian(lambda flat: problem.objective.loss(outputs(flat), targets).mean(), theta)


def row_curvatures(problem: Problem, curvature: str) -> Tensor:
    """What each training row adds to a curvature, J_kᵀ H_k J_k or g_k g_kᵀ; the curvature is the mean over rows.

    Args:
        problem: gives J_k and H_k, or g_k.
        curvature: `gauss_newton` or `empirical_fisher`.

    Returns:
        `[row, param, param]`.
    """
    if curvature == "gauss_newton":
        return torch.stack([J_k.T @ output_hessian(problem, k) @ J_k for k, J_k in enumerate(jacobians(problem))])
    return torch.stack([torch.outer(g_k, g_k) for g_k in fisher_rows(problem)])


def training_gradients(problem: Problem) -> Tensor:
    """Gradients of all training rows, one by one, `[row, param]`."""
    return torch.stack([gradient(problem, *problem.train[torch.tensor(k)]) for k in range(len(problem.train))])


def fisher_rows(problem: Problem) -> Tensor:
    """Gradients of all training rows times √w, `[row, param]`."""
    return row_weights(problem).sqrt()[:, None] * training_gradients(unweighted(problem))


def mean_gradient(problem: Problem) -> Tensor:
    """The mean training gradient ∇R(θ_f), `[param]`."""
    rows = range(len(problem.train))
    return torch.stack([gradient(problem, *problem.train[torch.tensor(k)]) for k in rows]).mean(0)


def lambda_0(problem: Problem) -> float:
    """The paper's unit of damping λ0, the mean over training rows and parameters of w g²."""
    return fisher_rows(problem).square().mean().item()


def damped_inverse(matrix: Tensor, damping: float | Tensor) -> Tensor:
    """(M + λI)⁻¹, dense.

    Args:
        matrix: M, `[param, param]`.
        damping: λ.

    Returns:
        `[param, param]`.
    """
    return torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))
