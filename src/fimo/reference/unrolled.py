"""The slow, obvious twins of the methods that know how much further training there was: dense recursions."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fimo.models.parameter_choice import theta_of
from fimo.problem import Problem
from fimo.reference.curvature import training_gradients
from fimo.reference.gradients import Array, gradients


def unrolled(
    matrix: Tensor,
    rates: Sequence[float] | Tensor,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Tensor:
    """Unrolled P_t after each step of torch's SGD: the deviation that a force of the identity in every step makes.

    Args:
        matrix: the curvature, `[param, param]`.
        rates: the learning rate of each step.
        momentum: of SGD.
        dampening: of SGD.
        nesterov: of SGD.
        weight_decay: of SGD.

    Returns:
        `[step, param, param]`.
    """
    unit = torch.eye(len(matrix), dtype=matrix.dtype)
    deviation = torch.nn.Parameter(torch.zeros_like(matrix))
    optimizer = torch.optim.SGD(
        [deviation], 1.0, momentum, dampening, nesterov=nesterov, weight_decay=weight_decay, foreach=False
    )
    matrices = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = float(rate)
        deviation.grad = matrix @ deviation.detach() - unit
        optimizer.step()
        matrices.append(deviation.detach().clone())
    return torch.stack(matrices)


def adam_unrolled(
    matrix: Tensor, scale: Tensor, rates: Sequence[float] | Tensor, momentum: float, weight_decay: float = 0.0
) -> Tensor:
    """Unrolled P_t after each step of Adam that divides by a fixed `1/scale` and decays as AdamW does.

    Args:
        matrix: the curvature, `[param, param]`.
        scale: `[param]`, see `adam_scale`.
        rates: the learning rate of each step.
        momentum: β₁.
        weight_decay: of AdamW.

    Returns:
        `[step, param, param]`.
    """
    unit = torch.eye(len(matrix), dtype=matrix.dtype)
    deviation, velocity, matrices = torch.zeros_like(matrix), torch.zeros_like(matrix), []
    for step, rate in enumerate(rates, start=1):
        velocity = momentum * velocity + (1 - momentum) * (matrix @ deviation - unit)
        corrected = velocity / (1 - momentum**step)
        deviation = deviation - rate * weight_decay * deviation - rate * torch.diag(scale) @ corrected
        matrices.append(deviation)
    return torch.stack(matrices)


def adam_scale(problem: Problem, batch_size: int, epsilon: float) -> Tensor:
    """Adam's diagonal 1/(√E[g_B²] + ε), the mean over every batch of so many training rows, one after the other.

    Args:
        problem: gives the training gradients.
        batch_size: in rows.
        epsilon: ε.

    Returns:
        `[param]`.
    """
    g = training_gradients(problem)
    batches = [g[list(rows)].mean(0) for rows in itertools.combinations(range(len(g)), batch_size)]
    scale = 1 / (torch.stack(batches).square().mean(0).sqrt() + epsilon)
    return torch.where((g == 0).all(0), scale.min(), scale)


def rescaled(scale: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
    """D^½ solve(D^½) D^½ of a diagonal matrix D.

    Args:
        scale: the diagonal of D, `[param]`.
        solve: the matrix between, made of D^½ as a dense matrix.

    Returns:
        `[param, param]`.
    """
    root = torch.diag(scale.sqrt())
    return root @ solve(root) @ root


def moved_scores(problem: Problem, matrix: Tensor | None, drift: Tensor, moved: str, unit: bool = False) -> Array:
    """Scores with an explicit matrix and gradients at θ_f + drift.

    Args:
        problem: gives the gradients.
        matrix: P, `[param, param]`; None for the identity.
        drift: `[param]`.
        moved: `train` where the gradients of training examples alone are taken there, `both` for test examples too.
        unit: whether φ scales gradients to unit length.

    Returns:
        `[test, left_out]`.
    """
    network = copy.deepcopy(problem.network)
    theta = list(theta_of(network).values())
    torch.nn.utils.vector_to_parameters(torch.nn.utils.parameters_to_vector(theta) + drift, theta)
    (test, _), (test_moved, train_moved) = gradients(problem), gradients(replace(problem, network=network))
    test = test_moved if moved == "both" else test
    if unit:
        test, train_moved = (g / torch.linalg.vector_norm(g, dim=1, keepdim=True) for g in (test, train_moved))
    return (test @ (train_moved.T if matrix is None else matrix @ train_moved.T) / len(problem.train)).numpy()
