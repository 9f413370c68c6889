"""The slow, obvious twin of curvature by sampling: one draw at one row after another, its gradient by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from fimo.models.classification import BinaryCrossEntropy, CrossEntropy
from fimo.models.regression import SquaredError
from fimo.problem import Problem
from fimo.randomness import seed_of, uniform_at
from fimo.reference.curvature import jacobians, output_hessian, row_weights, unweighted

STREAM = 19


def sampled_column(problem: Problem, k: int, sample: int, seed: int) -> Tensor:
    """The gradient, with respect to the outputs, of the negative log-likelihood at one target that the model draws.

    Of a loss that is no likelihood, the exact root times random signs.

    Args:
        problem: of rows that all count once.
        k: the training row.
        sample: which of its draws.
        seed: of the draws.

    Returns:
        `[output]`.
    """
    row, target = problem.train[k : k + 1]
    objective, f = problem.objective, problem.outputs(problem.parameters, row)[0].detach().requires_grad_()
    exact = objective.curvature_root(f.detach()[None], target)[0]
    width = {CrossEntropy: 1, BinaryCrossEntropy: len(f), SquaredError: len(f)}.get(type(objective), exact.shape[1])
    numbers = uniform_at(seed_of(seed, STREAM), (sample + 1) * width, problem.train.index[k : k + 1].numpy())[0]
    u = numbers[sample * width :].tolist()
    if isinstance(objective, CrossEntropy):
        p, total, drawn = torch.softmax(f.detach(), 0), 0.0, 0
        while drawn < len(p) - 1 and (total := total + float(p[drawn])) <= u[0]:
            drawn += 1
        # In its curvature the loss is a multiple of the negative log-likelihood.
        times = output_hessian(problem, k).trace() / (p - p.square()).sum()
        return times.sqrt() * torch.autograd.grad(-torch.log_softmax(f, 0)[drawn], f)[0]
    if isinstance(objective, BinaryCrossEntropy):
        labels = torch.tensor([[float(u_c < p_c) for u_c, p_c in zip(u, torch.sigmoid(f).tolist(), strict=True)]])
        return len(f) ** 0.5 * torch.autograd.grad(objective.loss(f[None], labels.to(f))[0], f)[0]
    if isinstance(objective, SquaredError):
        normal = torch.distributions.Normal(f.detach(), (len(f) / 2) ** 0.5)
        drawn_target = normal.icdf(torch.tensor(u, dtype=f.dtype))
        return torch.autograd.grad(objective.loss(f[None], drawn_target[None])[0], f)[0]
    return exact @ torch.tensor([-1.0 if u_c < 0.5 else 1.0 for u_c in u], dtype=f.dtype)


def sampled_roots(problem: Problem, samples: int = 1, seed: int = 0) -> Tensor:
    """The root of each training row's curvature that draws stand for, `[row, output, sample]`.

    Args:
        problem: with any objective.
        samples: k, draws for each row.
        seed: of the draws.

    Returns:
        The gradients over √k, times √w where rows have weights.
    """
    plain, w = unweighted(problem), row_weights(problem)
    columns = [
        torch.stack([sampled_column(plain, k, sample, seed) for sample in range(samples)], 1) for k in range(len(w))
    ]
    return torch.stack(columns) * (w / samples).sqrt()[:, None, None]


def sampled_rows(problem: Problem, samples: int = 1, seed: int = 0) -> Tensor:
    """A of the sampled Gauss–Newton matrix AᵀA/n, the rows of an example after each other.

    Args:
        problem: with any objective.
        samples: k, draws for each row.
        seed: of the draws.

    Returns:
        `[row · sample, param]`.
    """
    return (sampled_roots(problem, samples, seed).mT @ jacobians(problem)).flatten(0, 1)


def sampled_gauss_newton(problem: Problem, samples: int = 1, seed: int = 0) -> Tensor:
    """The Gauss–Newton matrix of one sample.

    Args:
        problem: with any objective.
        samples: k, draws for each row.
        seed: of the draws.

    Returns:
        `[param, param]`.
    """
    rows = sampled_rows(problem, samples, seed)
    return rows.T @ rows / len(problem.train)
