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


def sampled_column(problem: Problem, k: int, sample: int, seed: int, kind: str) -> Tensor:
    """The gradient, with respect to the outputs, of the negative log-likelihood at one target that the model draws.

    Of a sketch, and of a loss that is no likelihood, the exact root of the curvature times random signs.

    Args:
        problem: of rows that all count once.
        k: the training row.
        sample: which of its draws.
        seed: of the draws.
        kind: `sampled` or `sketched`.

    Returns:
        `[output]`.
    """
    row, target = problem.train[k : k + 1]
    objective, f = problem.objective, problem.outputs(problem.parameters, row)[0].detach().requires_grad_()
    kinds: dict[type, int] = {CrossEntropy: 1, BinaryCrossEntropy: len(f), SquaredError: len(f)}
    if kind == "sketched" or type(objective) not in kinds:
        root = objective.curvature_root(f.detach()[None], target)[0]
        return root @ (2 * (numbers_of(problem, k, sample, seed, root.shape[1]) >= 0.5).to(f) - 1)
    u = numbers_of(problem, k, sample, seed, kinds[type(objective)]).tolist()
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
    normal = torch.distributions.Normal(f.detach(), (len(f) / 2) ** 0.5)
    drawn_target = normal.icdf(torch.tensor(u, dtype=f.dtype))
    return torch.autograd.grad(objective.loss(f[None], drawn_target[None])[0], f)[0]


def numbers_of(problem: Problem, k: int, sample: int, seed: int, width: int) -> Tensor:
    """The random numbers of one draw at one row, `[number]`.

    Args:
        problem: gives the row's position in the split.
        k: the training row.
        sample: which of its draws.
        seed: of the draws.
        width: numbers of a draw.
    """
    position = problem.train.index[k : k + 1].numpy()
    return uniform_at(seed_of(seed, STREAM), (sample + 1) * width, position)[0, sample * width :]


def sampled_roots(problem: Problem, samples: int = 1, seed: int = 0, kind: str = "sampled") -> Tensor:
    """The root of each training row's curvature that draws stand for, `[row, output, sample]`.

    Args:
        problem: with any objective.
        samples: k, draws for each row.
        seed: of the draws.
        kind: `sampled` or `sketched`.

    Returns:
        The gradients over √k, times √w where rows have weights.
    """
    plain, w = unweighted(problem), row_weights(problem)
    columns = [
        torch.stack([sampled_column(plain, k, sample, seed, kind) for sample in range(samples)], 1)
        for k in range(len(w))
    ]
    return torch.stack(columns) * (w / samples).sqrt()[:, None, None]


def sampled_rows(problem: Problem, samples: int = 1, seed: int = 0, kind: str = "sampled") -> Tensor:
    """A of the sampled Gauss–Newton matrix AᵀA/n, the rows of an example after each other.

    Args:
        problem: with any objective.
        samples: k, draws for each row.
        seed: of the draws.
        kind: `sampled` or `sketched`.

    Returns:
        `[row · sample, param]`.
    """
    return (sampled_roots(problem, samples, seed, kind).mT @ jacobians(problem)).flatten(0, 1)


def sampled_gauss_newton(problem: Problem, samples: int = 1, seed: int = 0, kind: str = "sampled") -> Tensor:
    """The Gauss–Newton matrix of one sample.

    Args:
        problem: with any objective.
        samples: k, draws for each row.
        seed: of the draws.
        kind: `sampled` or `sketched`.

    Returns:
        `[param, param]`.
    """
    rows = sampled_rows(problem, samples, seed, kind)
    return rows.T @ rows / len(problem.train)
