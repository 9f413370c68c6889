"""Cosines with any weighted mean of the seeds' effects, from inner products that are taken once.

With the Gram matrix K of the seeds' effects e_k at one step and test example, and p_k = s · e_k of a score s of unit
length, the cosine of s with the mean of the seeds in which seed k weighs w_k is

    cos(s, Σ_k w_k e_k) = w · p / √(w · K w)

so groups of seeds, split halves and replicates of a bootstrap cost no further pass over the left-out examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from fimo.comparison.agreement import Array, centred, unit
from fimo.effect import centre, effect

# Rows of weights that are multiplied with the Gram matrices at once: the products are as large as the effects.
WEIGHTS_AT_ONCE = 64
# Many small matrix products: threads inside each cost more than they bring (100 times more where cores are busy).
one_thread = threadpool_limits.wrap(limits=1, user_api="blas")


@dataclass(frozen=True)
class SeedProducts:
    """Inner products over the n left-out examples, at some steps.

    A vector is split into what eq. 13 leaves of it and its mean m over left-out examples, v = c + m·1. Both parts are
    orthogonal, and the three adjustments of an effect differ in m alone: v · v' = c · c' + (√n m)(√n m').

    Attributes:
        effects: `[step, test, seed, left_out]`, the parts c of the effects, in units of the largest effect of the step
            and test example (squares of very small numbers would underflow).
        gram: `[step, test, seed, seed]`, c · c' of the effects.
        means: `[step, test, 1, seed]`, √n m of the effects, by adjustment.
        products: `[step, test, method, seed]`, c · c' of scores of unit length and effects.
        score_means: `[step or 1, test, method, 1]`, √n m of scores of unit length.
    """

    effects: Array
    gram: Array
    means: Mapping[str, Array]
    products: Array
    score_means: Array

    @classmethod
    @one_thread
    def of(cls, losses: xr.Dataset, scores: Array) -> SeedProducts:
        """From losses `[seed, step, test, left_out]` (see `fimo.effect`) and scores (see `stacked`).

        Args:
            losses: of all seeds, some steps.
            scores: `[step or 1, test, method, left_out]`.

        Returns:
            The products at these steps.
        """
        full = effect(losses, "full").transpose("step", "test", "seed", "left_out")
        moved = (losses["loss_full"] - losses["loss_before"]).transpose("step", "test", "seed")
        ends = [full.max("left_out"), -full.min("left_out"), abs(moved)]
        largest = xr.concat(ends, "seed", coords="minimal").max("seed", skipna=False)
        scale = largest.where(largest != 0, 1)
        full, moved, root = full / scale, moved / scale, np.sqrt(full.sizes["left_out"])
        mean, parts, units = full.mean("left_out", skipna=False), centre(full).values, unit(scores)
        parts = np.ascontiguousarray(parts)  # each step's and test example's together, as matrix products want it
        means = {"none": mean + moved, "full": mean, "centred": 0 * mean}
        return cls(
            effects=parts,
            gram=parts @ parts.swapaxes(-1, -2),
            means={adjustment: root * mean.values[:, :, None] for adjustment, mean in means.items()},
            products=centred(units) @ parts.swapaxes(-1, -2),
            score_means=root * units.mean(-1, keepdims=True),
        )

    @one_thread
    def cosines(self, weights: Array) -> dict[str, Array]:
        """Cosine `[step, test, method, row]` of scores with weighted means, `weights [row, seed]`, by adjustment."""
        norms, shared = self.inner(weights, weights), self.products @ weights.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                adjustment: (shared + self.score_means * (mean @ weights.T)) / np.sqrt(norms[adjustment][:, :, None])
                for adjustment, mean in self.means.items()
            }

    @one_thread
    def inner(self, first: Array, second: Array) -> dict[str, Array]:
        """Inner product `[step, test, row]` of two weighted means each, `[row, seed]`, by adjustment.

        Args:
            first: weights `[row, seed]` of one mean.
            second: weights `[row, seed]` of the other.

        Returns:
            `[step, test, row]` by adjustment.
        """
        pieces = -(-len(first) // WEIGHTS_AT_ONCE)
        shared = [
            np.einsum("...rs,rs->...r", one @ self.gram, two)
            for one, two in zip(np.array_split(first, pieces), np.array_split(second, pieces), strict=True)
        ]
        parts = np.concatenate(shared, -1)
        return {
            adjustment: parts + ((mean @ first.T) * (mean @ second.T))[:, :, 0]
            for adjustment, mean in self.means.items()
        }


def stacked(scores: Sequence[xr.DataArray], losses: xr.Dataset) -> Array:
    """Scores `[step or 1, test, method, left_out]` at the steps (where any depends on it) and examples of some losses.

    Args:
        scores: of each method, `[test, left_out]` or `[step, test, left_out]`.
        losses: those of the seeds.

    Returns:
        The array.
    """
    chosen = [score.sel({axis: losses[axis] for axis in score.dims}) for score in scores]
    arrays = [(score if "step" in score.dims else score.expand_dims("step")) for score in chosen]
    return np.stack(np.broadcast_arrays(*(each.transpose("step", "test", "left_out").values for each in arrays)), -2)
