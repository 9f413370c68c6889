"""The methods as one would write them down first: one test gradient at a time, products by autograd, plain loops."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fimo.problem import Problem
from fimo.reference.gradients import gradient
from fimo.reference.methods import flat_outputs, is_regression


def gauss_newton_product(problem: Problem, vector: Tensor) -> Tensor:
    """G v over all training rows: a forward product, the loss's Hessian, a backward product.

    Args:
        problem: gives G at its final model.
        vector: v, `[param]`.

    Returns:
        `[param]`.
    """
    outputs, theta = flat_outputs(problem, problem.train.inputs)
    f, Jv = torch.autograd.functional.jvp(outputs, theta, vector)
    targets = problem.train.targets
    _, HJv = torch.autograd.functional.hvp(lambda f: problem.objective.loss(f, targets).mean(), f, Jv)
    return torch.autograd.functional.vjp(outputs, theta, HJv)[1]


def conjugate_gradients(problem: Problem, g: Tensor, damping: float, tolerance: float, most: int = 10**6) -> Tensor:
    """Conjugate gradients for (G + λI)⁻¹ g.

    Args:
        problem: gives G at its final model.
        g: `[param]`.
        damping: λ.
        tolerance: on the residual, relative to the norm of g.
        most: how many iterations at most.

    Returns:
        `[param]`.
    """
    x, r = torch.zeros_like(g), g.clone()
    d, square = r, r @ r
    for _ in range(most):
        if square.sqrt() <= tolerance * torch.linalg.norm(g):
            break
        image = gauss_newton_product(problem, d) + damping * d
        step = square / (d @ image)
        x, r = x + step * d, r - step * image
        square, previous = r @ r, square
        d = r + square / previous * d
    return x


def training_gradients(problem: Problem) -> list[tuple[Tensor, ...]]:
    """Gradients of all training rows, one row after another, each split into its parameter tensors."""
    sizes = [p.numel() for p in problem.parameters.values()]
    rows = range(len(problem.train))
    return [gradient(problem, *problem.train[torch.tensor(k)]).split(sizes) for k in rows]


def mean_of_inverses(problem: Problem, g: Tensor, gradients: Sequence[Sequence[Tensor]], share: float) -> Tensor:
    """DataInf's P g with the gradients of all training rows at hand, row after row.

    Args:
        problem: its parameter tensors.
        g: `[param]`.
        gradients: see `training_gradients`.
        share: λ_l = share · mean(g_l²).

    Returns:
        `[param]`.
    """
    parts = g.split([p.numel() for p in problem.parameters.values()])
    solved = []
    for place, part in enumerate(parts):
        rows = [tensors[place] for tensors in gradients]
        damping = share * sum(row.square().mean() for row in rows) / len(rows)
        total = torch.zeros_like(part)
        for row in rows:
            total += (part - row * (row @ part) / (damping + row @ row)) / damping
        solved.append(total / len(rows))
    return torch.cat(solved)


def kronecker_bases(problem: Problem) -> list[tuple[Tensor, Tensor, Tensor]]:
    """EK-FAC's (Q_left, Q_right, Λ) of each layer of a regression network of linear layers, row after row."""
    assert is_regression(problem)
    layers = [m for m in problem.network.modules() if isinstance(m, torch.nn.Linear)]
    pairs: list[list[tuple[Tensor, Tensor]]] = [[] for _ in layers]
    calls: dict = {}
    hooks = [m.register_forward_hook(lambda m, args, out: calls.__setitem__(m, (args[0], out))) for m in layers]
    for k in range(len(problem.train)):
        output = problem.network(problem.train[k : k + 1][0])
        deltas = torch.autograd.grad(output.sum() * 2**0.5, [calls[m][1] for m in layers])
        for pair, m, delta in zip(pairs, layers, deltas, strict=True):
            pair.append((torch.cat([calls[m][0][0].detach(), torch.ones(1, dtype=delta.dtype)]), delta[0]))
    for hook in hooks:
        hook.remove()
    bases = []
    for pair in pairs:
        right = torch.linalg.eigh(sum(torch.outer(a, a) for a, _ in pair)).eigenvectors
        left = torch.linalg.eigh(sum(torch.outer(d, d) for _, d in pair)).eigenvectors
        values = sum((left.T @ torch.outer(d, a) @ right).square() for a, d in pair) / len(pair)
        bases.append((left, right, values))
    return bases


def kronecker_factors(
    problem: Problem, g: Tensor, bases: Sequence[tuple[Tensor, Tensor, Tensor]], share: float
) -> Tensor:
    """EK-FAC's P g, layer after layer.

    Args:
        problem: not needed beyond the bases; the same first argument as the other methods.
        g: `[param]`.
        bases: see `kronecker_bases`.
        share: λ = share · mean Λ of each layer.

    Returns:
        `[param]`.
    """
    solved, start = [], 0
    for left, right, values in bases:
        out, fan_in = len(left), len(right) - 1
        weight = g[start : start + out * fan_in].reshape(out, fan_in)
        bias = g[start + out * fan_in : start + out * (fan_in + 1)]
        start += out * (fan_in + 1)
        rotated = left.T @ torch.cat([weight, bias[:, None]], 1) @ right / (values + share * values.mean())
        matrix = left @ rotated @ right.T
        solved += [matrix[:, :-1].flatten(), matrix[:, -1]]
    return torch.cat(solved)
