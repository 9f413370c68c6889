"""The slow, obvious twins of the gradient-based methods: dense P's over all parameters, float64.

What they are made of is in `curvature` and `unrolled`, whose names can be had from here too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fimo.models.parameter_choice import theta_of
from fimo.problem import Problem
from fimo.reference.curvature import damped_inverse as damped_inverse
from fimo.reference.curvature import empirical_fisher as empirical_fisher
from fimo.reference.curvature import flat_outputs as flat_outputs
from fimo.reference.curvature import gauss_newton as gauss_newton
from fimo.reference.curvature import hessian as hessian
from fimo.reference.curvature import is_regression as is_regression
from fimo.reference.curvature import jacobians as jacobians
from fimo.reference.curvature import lambda_0 as lambda_0
from fimo.reference.curvature import mean_gradient as mean_gradient
from fimo.reference.curvature import output_hessian as output_hessian
from fimo.reference.curvature import row_curvatures as row_curvatures
from fimo.reference.curvature import row_weights as row_weights
from fimo.reference.curvature import training_gradients as training_gradients
from fimo.reference.curvature import unweighted as unweighted
from fimo.reference.sampling import sampled_gauss_newton as sampled_gauss_newton
from fimo.reference.sampling import sampled_roots as sampled_roots
from fimo.reference.unrolled import adam_scale as adam_scale
from fimo.reference.unrolled import adam_unrolled as adam_unrolled
from fimo.reference.unrolled import moved_scores as moved_scores
from fimo.reference.unrolled import rescaled as rescaled
from fimo.reference.unrolled import unrolled as unrolled


def mean_of_inverses(problem: Problem, share: float | None = None, damping: float | None = None) -> Tensor:
    """DataInf: explicit inverses, tensor by tensor; zero for a tensor whose gradient is nothing but rounding.

    Args:
        problem: gives the training gradients, and weights w_k: the mean is the weighted one of the inverses for λ_l/w̄,
            divided by the mean weight w̄.
        share: λ_l = share · mean(g_l²), where no damping is given.
        damping: one λ for all tensors.

    Returns:
        P, `[param, param]`.
    """
    g, w = training_gradients(unweighted(problem)), row_weights(problem)
    blocks = []
    for part in g.split([p.numel() for p in problem.parameters.values()], dim=1):
        if part.abs().max() < 1e-13 * g.abs().max():
            blocks.append(torch.zeros(part.shape[1], part.shape[1], dtype=g.dtype))
            continue
        value = share * (w[:, None] * part.square()).mean() if damping is None else damping
        inverses = torch.stack([damped_inverse(torch.outer(row, row), value / w.mean()) for row in part])
        blocks.append((w[:, None, None] * inverses).sum(0) / w.sum() / w.mean())
    return torch.block_diag(*blocks)


def neumann_series(
    problem: Problem, curvature: str | Tensor, damping: float, scale: float, batches: Sequence[Any]
) -> Tensor:
    """LiSSA's P: the recursion h ← g + h − (C_B h + λh)/s from every unit vector, divided by s, column by column.

    Args:
        problem: gives C_B.
        curvature: `gauss_newton`, `empirical_fisher`, `hessian`, or what each training row adds to another,
            `[row, param, param]`.
        damping: λ.
        scale: s.
        batches: training rows of each step; None for all of them.

    Returns:
        `[param, param]`.
    """
    if isinstance(curvature, str) and curvature == "hessian":
        matrices = [hessian(problem, None if batch is None else batch.tolist()) for batch in batches]
    else:
        rows = row_curvatures(problem, curvature) if isinstance(curvature, str) else curvature
        matrices = [(rows if batch is None else rows[batch]).mean(0) for batch in batches]
    g = torch.eye(len(matrices[0]), dtype=torch.float64)
    h = g.clone()
    for C in matrices:
        h = g + h - (C @ h + damping * h) / scale
    return h / scale


def influence_by_batches(
    problem: Problem, g: Tensor, batches: Sequence[Tensor], damping: float, scale: float
) -> Tensor:
    """The recursion as the library torch-influence has it, for one vector: products with autograd, batch by batch.

    Each step evaluates the batch's mean loss, multiplies its Gauss–Newton matrix by a forward and a backward product,
    adds the damping to that product, and divides by the scale only at the end.

    Args:
        problem: gives the loss.
        g: `[param]`.
        batches: training rows of each step.
        damping: λ.
        scale: s.

    Returns:
        `[param]`.
    """
    h = g.clone()
    for batch in batches:
        inputs, targets = problem.train[batch]
        outputs, theta = flat_outputs(problem, inputs)
        f, Jh = torch.autograd.functional.jvp(outputs, theta, h)
        _, HJh = torch.autograd.functional.hvp(lambda f, y=targets: problem.objective.loss(f, y).mean(), f, Jh)
        _, product = torch.autograd.functional.vjp(outputs, theta, HJh)
        h = g + h - (product + damping * h) / scale
    return h / scale


def random_projection(problem: Problem, S: Tensor, ridge: float = 0.0) -> Tensor:
    """TRAK's P = S(SᵀJᵀJS/n + λI)⁻¹Sᵀ with an explicit S.

    Args:
        problem: gives J, of the outputs or of the margins; a row of weight w has √w J.
        S: `[param, size]`.
        ridge: λ.

    Returns:
        `[param, param]`.
    """
    n = len(problem.train)
    J = jacobians(problem) * row_weights(problem).sqrt()[:, None, None]
    if is_regression(problem):
        rows = J.flatten(0, 1)
    else:
        margins = torch.stack([margin_gradient(unweighted(problem), k) for k in range(n)])
        rows = row_weights(problem).sqrt()[:, None] * margins
    features = rows @ S
    return S @ damped_inverse(features.T @ features / n, ridge) @ S.T


def margin_gradient(problem: Problem, k: int) -> Tensor:
    """Gradient of the margin log p_y − log(1 − p_y) at one training example.

    Args:
        problem: a classification.
        k: the training row.

    Returns:
        `[param]`.
    """
    outputs, theta = flat_outputs(problem, problem.train[k : k + 1][0])

    def margin(flat: Tensor) -> Tensor:
        p = torch.softmax(outputs(flat)[0], 0)[problem.train.targets[k]]
        return torch.log(p) - torch.log(1 - p)

    return torch.autograd.functional.jacobian(margin, theta)


def kronecker_factors(
    problem: Problem, share: float, scale: Tensor | None = None, roots: Tensor | None = None
) -> Tensor:
    """EK-FAC for networks of linear layers that are called on a matrix: explicit Kronecker products, layer by layer.

    Args:
        problem: gives the layers' inputs and output gradients.
        share: λ = share · mean Λ of each layer.
        scale: the diagonal of a matrix D, `[param]`: the eigenvalues are those of gradients D^½ g then, and P
            is between two factors D^½.
        roots: R of each row's curvature in the outputs, `[row, output, scalar]`; None for the exact ones.

    Returns:
        P, `[param, param]`.
    """
    roots = output_roots(problem) if roots is None else roots
    network, n = copy.deepcopy(problem.network), len(problem.train)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear) and m.weight.requires_grad]
    calls: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    for layer in layers:
        layer.register_forward_hook(lambda m, args, out: calls.__setitem__(m, (args[0].detach(), out)))
    outputs = network(problem.train.inputs)
    ones = torch.ones(n, 1, dtype=outputs.dtype)
    blocks, sizes = [], [sum(p.numel() for p in theta_of(layer).values()) for layer in layers]
    scale = torch.ones(sum(sizes), dtype=outputs.dtype) if scale is None else scale
    for layer, part in zip(layers, scale.split(sizes), strict=True):
        inputs, result = calls[layer]
        a = torch.cat([inputs, ones], 1) if layer.bias.requires_grad else inputs
        d = torch.stack(
            [torch.autograd.grad(outputs, result, roots[:, :, c], retain_graph=True)[0] for c in range(roots.shape[2])]
        )
        right = torch.linalg.eigh(a.T @ (row_weights(problem)[:, None] * a) / n).eigenvectors
        left = torch.linalg.eigh(torch.einsum("cni,cnj->ij", d, d) / n).eigenvectors
        Q = torch.kron(left, right)
        gradients = torch.einsum("cni,nj->cnij", d, a).flatten(2).flatten(0, 1)
        root = torch.empty_like(part)
        root[in_order(layer)] = part.sqrt()
        eigenvalues = (gradients * root @ Q).square().sum(0) / n
        P = root[:, None] * (Q @ torch.diag(1 / (eigenvalues + share * eigenvalues.mean())) @ Q.T) * root
        blocks.append(P[in_order(layer)][:, in_order(layer)])
    return torch.block_diag(*blocks)


def output_roots(problem: Problem) -> Tensor:
    """Roots R of each output Hessian, `[row, output, output]`: JᵀRRᵀJ is a row's part of the Gauss–Newton matrix."""
    values, vectors = torch.linalg.eigh(torch.stack([output_hessian(problem, k) for k in range(len(problem.train))]))
    return vectors * values.clamp(min=0).sqrt()[:, None]


def in_order(layer: nn.Linear) -> Tensor:
    """Where the parameters weight, bias lie among the entries of the matrix whose last column is the bias."""
    if not layer.bias.requires_grad:  # it is no part of θ, and there is no such column
        return torch.arange(layer.weight.numel())
    places = torch.arange(layer.out_features * (layer.in_features + 1)).reshape(layer.out_features, -1)
    return torch.cat([places[:, :-1].flatten(), places[:, -1]])
