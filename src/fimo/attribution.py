"""The unifying view: every gradient-based method is one equation (arXiv 2412.03906, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fimo.compat import differentiable_attention
from fimo.errors import UserError
from fimo.gradients.source import GradientSource
from fimo.memory import BLOCK_BYTES
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Parameters, Problem
from fimo.unrolled.displaced import DisplacedGradients
from fimo.unrolled.trajectory import trajectory_scores
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton


def attribute(
    problem: Problem,
    preconditioner: Preconditioner,
    block_bytes: int = BLOCK_BYTES,
    curvature_rows: int | None = None,
    moved: DisplacedGradients | None = None,
) -> xr.DataArray:
    """Scores of all left-out examples for all test examples.

        score[j, i] = φ(g_j)ᵀ P φ(g_i) / n

    g_j and g_i are the gradients at θ_f of the loss at test example j and training example i, n = |D|. A positive
    score says that leaving i out raises the loss at j: the example helped. The sign and the 1/n are fixed here for
    every method. P is multiplied with the smaller set of gradients, or with the test examples' where P isn't symmetric.

    Args:
        problem: in the dtype that the scores are wanted in; float64 is right for small networks.
        preconditioner: the method's φ and P.
        block_bytes: bound on the memory of one block of gradients; the scores don't depend on it.
        curvature_rows: fit P to so many evenly spaced training rows; None for all. A note of the method says so.
        moved: take gradients where further training has got to; None for θ_f.

    Returns:
        `[test, left_out]`, labelled with positions in the full splits; `[step, test, left_out]` where P or the place
        of the gradients depends on the amount of further training.

    Raises:
        UserError: where the network isn't ready, or doesn't suit the method.
    """
    ready(problem)
    with differentiable_attention():
        P = preconditioner.fit_to(problem, curvature_rows)
        views = moved.views(P, problem) if moved else [(P, problem, problem)]
        found = [_scores(*view, block_bytes) for view in views]
    values = torch.stack(found) if moved and P.steps is None else torch.cat(found)
    return _labelled(problem, values, moved.estimate.steps if moved else P.steps)


def attribute_along(
    problem: Problem, method: UnrolledGaussNewton, way: Sequence[Parameters], curvature_rows: int | None = None
) -> xr.DataArray:
    """Scores that follow one full run of further training in place of an estimate of where it goes (`trajectory_scores`).

    Args:
        problem: as for `attribute`.
        method: what is neglected between evaluated steps is what it neglects.
        way: θ after each evaluated step of a full run.
        curvature_rows: as for `attribute`.

    Returns:
        `[step, test, left_out]`.

    Raises:
        UserError: as `attribute` and `trajectory_scores`.
    """
    ready(problem)
    with differentiable_attention():
        values = trajectory_scores(method.fit_to(problem, curvature_rows), problem, way)
    return _labelled(problem, values, method.steps)


def _labelled(problem: Problem, values: Tensor, steps: Sequence[int] | None) -> xr.DataArray:
    coordinates = {axis: np.asarray(index) for axis, index in problem.coordinates.items()}
    if steps is not None:
        coordinates = {"step": np.asarray(steps), **coordinates}
    return xr.DataArray(values.to(torch.float64).cpu().numpy(), coordinates, list(coordinates), name="score")


def _scores(P: Preconditioner, at_test: Problem, at_train: Problem, block_bytes: int) -> Tensor:
    """`[…, test, left_out]`, with gradients where each of the two problems has its parameters."""
    phi, n = P.phi, len(at_train.train)
    at_test, at_train = P.coordinates(at_test), P.coordinates(at_train)
    sides = [(at_test, at_test.test), (at_train, at_train.train.keep(at_train.left_out))]
    swapped = P.symmetric and len(sides[1][1]) < len(sides[0][1])
    (at_solved, solved), (at_others, others) = reversed(sides) if swapped else sides
    # Each block that is multiplied by P goes through all of the others anew, so it may be larger.
    wide = GradientSource(at_solved, P.factored, 4 * block_bytes)
    source = GradientSource(at_others, P.factored, block_bytes)
    scores = []
    for block in wide.blocks(solved):
        P_g = P @ phi(block)
        scores.append(torch.cat([P_g.inner(phi(g)) / n for g in source.blocks(others)], dim=-1))
    found = torch.cat(scores, dim=-2)
    return found.mT if swapped else found


def ready(problem: Problem) -> None:
    """Refuse a network whose gradients would be random, or would leave a part of θ out.

    Raises:
        UserError: where it is in training mode, or a parameter is frozen.
    """
    if any(module.training for module in problem.network.modules()):
        raise UserError("Scores are those of a final model in eval mode: call network.eval() first.")
    if frozen := [name for name, p in problem.network.named_parameters() if not p.requires_grad]:
        raise UserError(f"All parameters are part of θ, but {frozen[0]} is frozen: call network.requires_grad_().")
