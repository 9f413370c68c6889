"""How well the gold standard agrees with itself, and what that allows a perfect score to reach."""

from __future__ import annotations

import numpy as np
import xarray as xr

from fimo.compare.agreement import cosine, mean_of_finite
from fimo.effect import average

SPLITS = 20


def reliability(
    effects: xr.DataArray, adjustment: str, random: np.random.Generator, splits: int = SPLITS
) -> np.ndarray:
    """Reliability r of the mean over all seeds, one number per step.

    The S seeds are split at random into two disjoint groups of m = ⌊S/2⌋; c is the cosine of the two groups' mean
    effects, averaged over test examples and over `splits` splits. By the Spearman–Brown formula with k = S/m,
    r = k c / (1 + (k − 1) c), clipped to [0, 1]. The ceiling of every method is √r: the cosine that a noise-free score
    would reach against the measured mean.

    Args:
        effects: `[seed, step, test, left_out]`, as `fimo.effect.effect` gives them.
        adjustment: one of `fimo.effect.ADJUSTMENTS`.
        random: draws the splits.
        splits: how many.

    Returns:
        `[step]`; NaN with fewer than two seeds.
    """
    count = effects.sizes["seed"]
    half = count // 2
    if half == 0:
        return np.full(effects.sizes["step"], np.nan)
    agreement = []
    for _ in range(splits):
        order = random.permutation(count)
        groups = (effects.isel(seed=order[:half]), effects.isel(seed=order[half : 2 * half]))
        first, second = (average(group, adjustment).values for group in groups)
        agreement.append(mean_of_finite(np.moveaxis(cosine(first, second), -1, 0)))
    c, k = np.maximum(mean_of_finite(np.stack(agreement)), 0), count / half
    return np.clip(k * c / (1 + (k - 1) * c), 0, 1)
