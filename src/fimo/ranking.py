"""All training rows ranked by one method, for every test example: the ends of the ranking, means, self-influence.

Scores come in tiles and are never held all at once: memory is bounded by a block, whatever the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from fimo.attribution import evaluate, self_influence, tiles
from fimo.errors import MethodFailed, UserError
from fimo.groups import Groups
from fimo.memory import BLOCK_BYTES, SELF_INFLUENCE_ROWS
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem
from fimo.views import Tile, View, Views

# Raise it when numbers change.
VERSION = 1
# Rows at each end of a ranking where nothing else is asked for.
TOP = 20
# Of a ranking's dataset: the row at each rank; means over test examples; what a row does to itself.
ROW, SCORE, MEAN, SELF = "row", "score", "mean", "self_influence"


@dataclass
class Ends:
    """Both ends of some rankings, while scores arrive in any order of the rows. NaN takes no part.

    Attributes:
        count: rows that are kept at each end.
        highest: scores and positions of their rows, `[…, end]`, the highest first; of equal ones the earlier row first.
        lowest: the same from the other end of the same ranking: of equal ones the later row first.
    """

    count: int
    highest: tuple[Tensor, Tensor] | None = None
    lowest: tuple[Tensor, Tensor] | None = None

    def add(self, values: Tensor, rows: Tensor) -> None:
        """Take in more rows.

        Args:
            values: scores, `[…, row]`.
            rows: positions of these rows, `[row]`.
        """
        rows, numbers = rows.expand(values.shape), values.isfinite()
        self.highest = self._kept(self.highest, values.where(numbers, -torch.inf), rows, from_the_highest=True)
        self.lowest = self._kept(self.lowest, values.where(numbers, torch.inf), rows, from_the_highest=False)

    def _kept(
        self, before: tuple[Tensor, Tensor] | None, values: Tensor, rows: Tensor, from_the_highest: bool
    ) -> tuple[Tensor, Tensor]:
        """The first of a ranking read from one end, among those that were kept before and more."""
        if before is not None:
            values, rows = torch.cat([before[0], values], -1), torch.cat([before[1], rows], -1)
        rows, order = rows.sort(dim=-1, descending=not from_the_highest)
        values, by_value = values.gather(-1, order).sort(dim=-1, descending=from_the_highest, stable=True)
        return values[..., : self.count], rows.gather(-1, by_value)[..., : self.count]

    def joined(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows from the highest to the lowest, `[…, rank]`, see `ranks_of`; NaN where there is no score.

        Args:
            rows: how many there were.
        """
        assert self.highest is not None and self.lowest is not None
        middle = max(0, 2 * self.count - rows)  # of few rows the ends overlap
        parts = zip(self.highest, self.lowest, strict=True)
        scores, positions = (torch.cat([high, low.flip(-1)[..., middle:]], -1).numpy() for high, low in parts)
        return np.where(np.isfinite(scores), scores, np.nan), positions


def ranks_of(top: int, rows: int) -> np.ndarray:
    """The ranks at both ends, 1 of the highest score and `rows` of the lowest, `[rank]`.

    Args:
        top: how many at each end.
        rows: in the ranking.
    """
    return np.array([*range(1, top + 1), *range(max(top, rows - top) + 1, rows + 1)])


def require_top(top: object, rows: int) -> int:
    """How many rows are kept at each end.

    Args:
        top: what was asked for; None for 20, or all rows where there are fewer.
        rows: training rows.

    Raises:
        UserError: where it is no number from 1 to all rows.
    """
    if top is None:
        return min(TOP, rows)
    if not isinstance(top, (int, np.integer)) or isinstance(top, bool) or not 1 <= top <= rows:
        raise UserError(f"top (rank.top) must be a whole number from 1 to {rows} (the training rows), found {top!r}.")
    return int(top)


def all_left_out(problem: Problem) -> Problem:
    """The problem with each training row left out by itself."""
    return replace(problem, left_out=Groups.of("all", len(problem.train)))


def rank_rows(
    problem: Problem,
    preconditioner: Preconditioner,
    top: int,
    *,
    views: Views | None = None,
    curvature_rows: int | None = None,
    block_bytes: int = BLOCK_BYTES,
    self_influence_rows: int = SELF_INFLUENCE_ROWS,
) -> xr.Dataset:
    """All training rows ranked by score[j, i], for every test example j (see `fimo.attribution`).

    Args:
        problem: its training rows and test examples; `left_out` does not matter.
        preconditioner: the method's φ and P.
        top: rows that are kept at each end of a ranking.
        views: see `fimo.attribution.attribute`; each with scores of its own, as `DisplacedGradients` has them where it
            takes gradients after every amount of further training.
        curvature_rows: see `fimo.attribution.attribute`.
        block_bytes: bound on the memory of one block of gradients.
        self_influence_rows: see `fimo.attribution.self_influence`.

    Returns:
        `score` and `row` (position in the entire split) over `[test, rank]`, `mean` over test examples and
        `self_influence` over `[train]`; `step` in front for a method that depends on the amount of further training.
        `self_influence` is missing where the method has none, with a note of the method.

    Raises:
        UserError: where the network isn't ready, or doesn't suit the method.
    """
    n, n_test = len(problem.train), len(problem.test)
    top = require_top(top, n)

    def ranked(views: Iterable[View]) -> xr.Dataset:
        parts: list[xr.Dataset] = []
        for view in views:
            if any(share != 1 for share in view.shares or ()):
                raise UserError(
                    "A ranking has no scores that are interpolated between amounts of further training: take gradients "
                    "after each, as DisplacedGradients(…, most=None) does."
                )
            part = _of_view(view, top, (n, n_test), block_bytes, self_influence_rows)
            steps = view.steps
            parts.append(part.assign_coords(step=steps) if steps else part.isel(step=0))
        return xr.concat(parts, "step") if "step" in parts[0].dims else parts[0]

    dataset = evaluate(all_left_out(problem), preconditioner, ranked, views=views, curvature_rows=curvature_rows)
    return labelled(dataset, problem)


def rank_scores(scores: xr.DataArray, problem: Problem, top: int) -> xr.Dataset:
    """The same of scores that are there, of a method that is no preconditioner.

    Args:
        scores: `[test, left_out]` or `[step, test, left_out]`, of all training rows.
        problem: that they belong to.
        top: rows that are kept at each end of a ranking.

    Returns:
        As `rank_rows` has it, without `self_influence`.
    """
    n, values = len(problem.train), torch.from_numpy(np.ascontiguousarray(scores.values, dtype=np.float64))
    tile = Tile(torch.arange(len(problem.test)), torch.arange(n), values.reshape(-1, *values.shape[-2:]))
    ranked = _ranked([tile], require_top(top, n), n, len(problem.test))
    stepwise = "step" in scores.dims
    return labelled(ranked.assign_coords(step=scores["step"].values) if stepwise else ranked.isel(step=0), problem)


def labelled(dataset: xr.Dataset, problem: Problem) -> xr.Dataset:
    """A ranking with positions in the entire splits in place of those among the kept rows.

    Args:
        dataset: `[step, test, rank]` and `[step, train]`, without coordinates.
        problem: whose rows these are.
    """
    index = problem.train.index.cpu().numpy()
    dataset[ROW] = dataset[ROW].copy(data=index[dataset[ROW].values])
    return dataset.assign_coords(test=problem.test.index.cpu().numpy(), train=index)


def _of_view(view: View, top: int, sizes: tuple[int, int], block_bytes: int, most_rows: int) -> xr.Dataset:
    """What is kept of one view: the ranking, and self-influence where the method has it."""
    part = _ranked(tiles(view, block_bytes, view.at_hand), top, *sizes)
    if SELF not in part:
        try:
            part[SELF] = ("step", "train"), _array(self_influence(view, most_rows, block_bytes))
        except MethodFailed as reason:
            view.P.note("self-influence", str(reason))
    return part


def _ranked(parts: Iterable[Tile], top: int, n: int, n_test: int) -> xr.Dataset:
    """What is kept of the scores of one view."""
    ends: dict[tuple[int, ...], Ends] = {}  # by the tests
    total: Tensor | None = None
    own: list[tuple[Tensor, Tensor]] = []
    for tile in parts:
        values = tile.values.detach().double().cpu()
        ends.setdefault(tuple(tile.tests.tolist()), Ends(top)).add(values, tile.rows)
        own += [] if tile.own is None else [(tile.rows, tile.own)]
        total = values.new_zeros(len(values), n) if total is None else total
        total[:, tile.rows] += values.sum(1) / n_test
    scores, rows = zip(*(of_tests.joined(n) for of_tests in ends.values()), strict=True)
    order = np.argsort([test for tests in ends for test in tests])
    axes, by_row = ("step", "test", "rank"), ("step", "train")
    influence = {}
    if own:
        places, influences = (torch.cat(part, -1) for part in zip(*own, strict=True))
        influence[SELF] = by_row, _array(influences[:, places.argsort()])
    return xr.Dataset(
        {SCORE: (axes, np.concatenate(scores, 1)[:, order]), ROW: (axes, np.concatenate(rows, 1)[:, order]),
         MEAN: (by_row, _array(total)), **influence},
        {"rank": ranks_of(top, n)},
    )  # fmt: skip


def _array(values: Tensor | None) -> np.ndarray:
    assert values is not None
    return values.detach().double().cpu().numpy()
