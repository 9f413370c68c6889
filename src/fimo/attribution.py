"""The unifying view: every gradient-based method is one equation (arXiv 2412.03906, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fimo.compat import differentiable_attention
from fimo.errors import UserError
from fimo.gradients import Vectors
from fimo.gradients.base import for_products
from fimo.gradients.cotangents import OfMeasurement, of_loss
from fimo.gradients.source import GradientSource
from fimo.gradients.verified import factors_or_dense
from fimo.memory import BLOCK_BYTES, PRODUCT_BLOCKS, PRODUCT_ROWS
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem
from fimo.views import Tile, View, Views

# Raise it when numbers change.
VERSION = 1

Result = TypeVar("Result")


def attribute(
    problem: Problem,
    preconditioner: Preconditioner,
    *,
    views: Views | None = None,
    curvature_rows: int | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> xr.DataArray:
    """Scores of all left-out examples for all test examples.

        score[j, i] = φ(g_j)ᵀ P φ(g_i) / n

    g_j is the gradient at θ_f of the measurement, usually the loss, at test example j, g_i that of the loss at training
    example i, n = |D|. A positive score says that leaving i out raises what is measured at j. The sign and the 1/n are
    fixed here for every method. The score of a group is the sum of its examples' scores.

    Args:
        problem: in the dtype that the scores are wanted in; float64 is right for small networks.
        preconditioner: the method's φ and P.
        views: from the fitted P and the problem to the views that the equation is evaluated in, such as
            `fimo.unrolled.displaced.DisplacedGradients`; None for one view at θ_f.
        curvature_rows: fit P to so many evenly spaced training rows; None for all. A note of the method says so.
        block_bytes: bound on the memory of one block of gradients; the scores don't depend on it.

    Returns:
        `[test, left_out]`, labelled with positions in the full splits; `[step, test, left_out]` where P or the place
        of the gradients depends on the amount of further training.

    Raises:
        UserError: where the network isn't ready, or doesn't suit the method.
    """

    def joined(views: Iterable[View]) -> xr.DataArray:
        scores: dict[int, Tensor] = {}
        for view in views:
            values = _joined(view, block_bytes)
            if view.steps is None:
                return _labelled(problem, values, [])
            shares = view.shares or [1.0] * len(view.steps)
            for step, share, part in zip(view.steps, shares, values.expand(len(view.steps), -1, -1), strict=True):
                scores[step] = scores[step] + share * part if step in scores else share * part
        return _labelled(problem, torch.stack(list(scores.values())), list(scores))

    return evaluate(problem, preconditioner, joined, views=views, curvature_rows=curvature_rows)


def evaluate(
    problem: Problem,
    preconditioner: Preconditioner,
    consume: Callable[[Iterable[View]], Result],
    *,
    views: Views | None = None,
    curvature_rows: int | None = None,
) -> Result:
    """Whatever is made of the views of a method, whose P is fitted first.

    Args:
        problem: see `attribute`.
        preconditioner: the method's φ and P.
        consume: of the views, which are made one after another. It is called anew, with gradients as they are, where
            gradients in factors turn out to be wrong for some row.
        views: see `attribute`.
        curvature_rows: see `attribute`.

    Returns:
        What `consume` returns.

    Raises:
        UserError: where the network isn't ready, or doesn't suit the method.
    """
    require_ready(problem)
    if preconditioner.from_training_rows and (curvature_rows is None or curvature_rows >= len(problem.train)):
        problem = problem.precomputed

    def computed() -> Result:
        P = preconditioner.fit_to(problem, curvature_rows)
        P.note_curvature(problem)
        return consume(views(P, problem) if views else [View(P, problem, problem, P.steps)])

    with differentiable_attention():
        return factors_or_dense(problem.network, computed)


def tiles(view: View, block_bytes: int = BLOCK_BYTES, own: bool = False) -> Iterator[Tile]:
    """The equation in one view, block by block.

    Pᵀ is multiplied with the test examples' gradients; where P = Pᵀ, P with the smaller set of gradients. Sequences are
    taken by their lengths, so that blocks of them need little padding.

    Args:
        view: with its fitted P.
        block_bytes: bound on the memory of one block of gradients while it is made; some are held together.
        own: whether the rows' self-influence is wanted with the first tests' tiles, from the same gradients; of a view
            that has it `at_hand`.

    Yields:
        Tiles that cover all scores, each once.
    """
    P, phi = view.P, view.P.phi
    test = view.at_test, view.at_test.test, OfMeasurement(view.at_test.watched)
    left_out = view.at_train, view.at_train.train.keep(view.at_train.left_out.rows), of_loss
    matrix, one, other = (P, left_out, test) if view.from_left_out else (P.T, test, left_out)
    (at_rows, rows, of_rows), (at_others, others, of_others) = one, other
    at_other = GradientSource(at_others, P.factored, block_bytes)
    order, (others, other_order) = torch.arange(len(rows)), others.sorted_by_length
    if view.products is not None:
        products: Iterable[Vectors] = [view.products]
    else:
        rows, order = rows.sorted_by_length
        source = at_other if at_rows is at_others else GradientSource(at_rows, P.factored, block_bytes)
        blocks = source.joined_blocks(rows, of_rows, PRODUCT_BLOCKS * block_bytes)
        products = (for_products(matrix @ phi(g), len(others)) for g in blocks)
    first, at_most = 0, _rows_of_products(view, block_bytes)
    # Products with a curvature are made of other gradients, which are multiplied out anew for each block.
    together = block_bytes * (1 if P.kind == "none" else PRODUCT_BLOCKS)
    for P_g in products:
        begin = count = 0
        for g in map(phi, at_other.joined_blocks(others, of_others, together, at_most)):
            g = P.for_both(g) if own and first == 0 else g
            scores = _scores(P_g.inner(g), view)
            influence = _by_matrix(_scores(P.quadratic_form(g), view)) if own and first == 0 else None
            count, width = scores.shape[-2:]
            ours, theirs = order[first : first + count], other_order[begin : (begin := begin + width)]
            scores = scores.reshape(-1, count, width)
            yield Tile(theirs, ours, scores.mT) if view.from_left_out else Tile(ours, theirs, scores, influence)
        first += count
        del P_g  # before the next is made


def self_influence(view: View, most_rows: int, block_bytes: int = BLOCK_BYTES) -> Tensor:
    """φ(g_i)ᵀ P φ(g_i) / n of every training row i: what leaving it out does to its own loss.

    Args:
        view: with its fitted P.
        most_rows: where a product with P costs a solution, P is fitted to so many evenly spaced training rows at the
            most (see `Preconditioner.for_all_rows`).
        block_bytes: bound on the memory of one block.

    Returns:
        `[matrix, row]`, with an axis for the matrices that P stands for.
    """
    P, train = view.P.for_all_rows(most_rows), view.at_train.train
    at_train, at_test = (GradientSource(place, P.factored, block_bytes) for place in (view.at_train, view.at_test))
    (by_length, order), parts, begin = train.sorted_by_length, [], 0
    for g in at_train.blocks(by_length, of_loss, _rows_of_products(view, block_bytes)):
        some = order[begin : (begin := begin + len(g))]
        if view.at_one_place:
            products = P.quadratic_form(P.phi(g))
        else:
            own = at_test(train.keep(some))
            pairs = (P @ P.phi(g)).inner(P.phi(own)) if view.products is None else view.products.inner(own)[some]
            products = pairs.diagonal(dim1=-2, dim2=-1)
        parts.append(_by_matrix(_scores(products, view)))
    return torch.cat(parts, dim=-1)[:, order.argsort()]


def _scores(products: Tensor, view: View) -> Tensor:
    """Scores of products φ(g_j)ᵀ P φ(g_i), of any shape: the sign and the 1/n of every method."""
    return products / len(view.at_train.train)


def _rows_of_products(view: View, block_bytes: int) -> int:
    """Rows of a block whose products fit into memory: with all rows of a dual, and with some tensor by tensor."""
    problem, n = view.at_train, len(view.at_train.train)
    products = max(n * _columns(view.P, problem), min(PRODUCT_ROWS, n) * len(problem.theta))
    return max(1, block_bytes // (8 * products))


def _columns(P: Preconditioner, problem: Problem) -> int:
    """Columns of the root of P's curvature at a row, at the most; a language model has as many outputs as tokens."""
    if P.sampling is not None:
        return P.sampling.samples
    if P.kind == "none":
        return 0
    if P.kind == "empirical_fisher":
        return 1
    return problem.outputs(problem.parameters, problem.train[slice(0, 1)][0])[0].numel()


def _by_matrix(values: Tensor) -> Tensor:
    """`[matrix, row]` of `[row]` or of that."""
    return values.reshape(-1, values.shape[-1])


def _joined(view: View, block_bytes: int) -> Tensor:
    """The scores of one view, `[matrix, test, left_out]`; those of a group are summed."""
    groups, scores = view.at_train.left_out, None
    for tile in tiles(view, block_bytes):
        if scores is None:
            shape = len(tile.values), len(view.at_test.test), len(groups.rows)
            scores = tile.values.new_empty(shape)
        scores[:, tile.tests[:, None], tile.rows] = tile.values
    assert scores is not None
    return groups.summed(scores)


def _labelled(problem: Problem, values: Tensor, steps: Sequence[int]) -> xr.DataArray:
    """Values `[matrix, test, left_out]` with their axes; without steps there is one matrix, and no axis for it."""
    coordinates = {"step": np.asarray(steps), **problem.coordinates} if steps else problem.coordinates
    values = values if steps else values.squeeze(0)
    return xr.DataArray(values.to(torch.float64).cpu().numpy(), coordinates, list(coordinates), name="score")


def require_ready(problem: Problem) -> None:
    """Refuse a network whose gradients would be random, or would leave a part of θ out.

    Raises:
        UserError: where it is in training mode, or a parameter is frozen.
    """
    if any(module.training for module in problem.network.modules()):
        raise UserError(
            "Scores need the final model in eval mode, found problem.network in training mode: call "
            "problem.network.eval()."
        )
    names = problem.part or [name for name, _ in problem.network.named_parameters()]
    if frozen := [name for name in names if name not in problem.theta]:
        raise UserError(
            f"{frozen[0]} is part of θ, but problem.network has it frozen (requires_grad is False): make the Problem "
            "anew, and leave its network as it is."
        )
