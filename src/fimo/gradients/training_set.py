"""Gradients of all training rows at once against vectors: a backward or a forward pass, whatever the network."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.func import jvp

from fimo.errors import MethodFailed, short
from fimo.gradients.cotangents import Cotangents, of_loss
from fimo.gradients.footprint import blocks_that_fit, in_order_of_rows
from fimo.memory import BLOCK_BYTES
from fimo.problem import Parameters, Problem


def vjp_over_training_set(
    problem: Problem, weights: Tensor, cotangents: Cotangents = of_loss, block_bytes: int = BLOCK_BYTES
) -> Parameters:
    """Σ_k w_k g_k over the gradients of all training rows, by parameter.

    Args:
        problem: its training rows, at its network's parameters.
        weights: `[gradient]`, as many for each row as there are scalars.
        cotangents: of the scalars that are differentiated, the loss by default.
        block_bytes: bound on the memory of a block of rows.

    Returns:
        The sum, by parameter.
    """
    parameters, rows = problem.theta, len(problem.train)
    total = {name: torch.zeros_like(parameter) for name, parameter in problem.parameters.items()}
    by_row = weights.reshape(rows, -1).to(problem.device, problem.dtype)
    for some in blocks_that_fit(problem, block_bytes):
        inputs, targets = problem.train[some]
        with torch.enable_grad():
            outputs = problem.network(inputs)
        vectors = torch.einsum("r...s,rs->r...", cotangents(problem.objective, outputs.detach(), targets), by_row[some])
        gradients = torch.autograd.grad(outputs, list(parameters.values()), vectors, materialize_grads=True)
        for name, part in zip(total, gradients, strict=True):
            total[name] += part
    return total


@torch.no_grad()
def jvp_over_training_set(
    problem: Problem, vector: Parameters, cotangents: Cotangents = of_loss, block_bytes: int = BLOCK_BYTES
) -> Tensor:
    """g_k · v for the gradients of all training rows, `[gradient]`, by forward differentiation.

    Args:
        problem: its training rows, at its network's parameters.
        vector: v, by parameter.
        cotangents: of the scalars that are differentiated, the loss by default.
        block_bytes: bound on the memory of a block of rows.

    Returns:
        The products, `[gradient]`.

    Raises:
        MethodFailed: where torch can't differentiate the network forward.
    """
    products, blocks = [], blocks_that_fit(problem, block_bytes)
    for some in blocks:
        inputs, targets = problem.train[some]
        try:
            outputs, tangents, *_ = jvp(partial(problem.outputs, inputs=inputs), (problem.parameters,), (vector,))
        except NotImplementedError as reason:
            raise MethodFailed(
                f"The drift of the network {type(problem.network).__name__} can't be estimated: torch has no forward "
                f"derivative for a part of it ({short(reason)}). Choose a method whose gradients aren't moved: "
                "unrolled_gn for unrolled_gn_moved, and in a command method.<name>.moved=none for any other."
            ) from reason
        vectors = cotangents(problem.objective, outputs, targets).flatten(1, -2)
        products.append((tangents.flatten(1)[:, None, :] @ vectors).squeeze(1))
    return in_order_of_rows(products, blocks).flatten()
