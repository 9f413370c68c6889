"""How well the gold standard agrees with itself, and what that allows a perfect score to reach."""

from __future__ import annotations

import numpy as np

from fimo.comparison.agreement import Array, Mean, spearman
from fimo.comparison.seed_products import SeedProducts

SPLITS = 20


def reliability(products: SeedProducts, random: np.random.Generator, splits: int = SPLITS) -> dict[str, Array]:
    """Reliability r of the mean over all seeds, `[step]` by adjustment; NaN with fewer than two seeds.

    The S seeds are split at random into two disjoint groups of m = ⌊S/2⌋; c is the cosine of the two groups' mean
    effects, averaged over test examples and over `splits` splits. By the Spearman–Brown formula with k = S/m,
    r = k c / (1 + (k − 1) c), clipped to [0, 1]. The ceiling of every method is √r: the cosine that a noise-free score
    would reach against the measured mean.

    Args:
        products: of the seeds' effects.
        random: draws the splits.
        splits: how many.

    Returns:
        r `[step]` by adjustment, between 0 and 1.
    """
    count = products.gram.shape[-1]
    half = count // 2
    if half == 0:
        return {adjustment: np.full(len(products.gram), np.nan) for adjustment in products.means}
    first, second = np.zeros((2, splits, count))
    for row in range(splits):
        order = random.permutation(count)
        first[row, order[:half]] = second[row, order[half : 2 * half]] = 1 / half
    across, norms, others = (products.inner(*pair) for pair in ((first, second), (first, first), (second, second)))
    by_adjustment = {}
    for adjustment in products.means:
        with np.errstate(divide="ignore", invalid="ignore"):
            agreement = across[adjustment] / np.sqrt(norms[adjustment] * others[adjustment])
        c, k = np.maximum(Mean.of(Mean.of(agreement.swapaxes(1, 2)).mean).mean, 0), count / half
        by_adjustment[adjustment] = np.clip(k * c / (1 + (k - 1) * c), 0, 1)
    return by_adjustment


def rank_ceiling(effects: Array, random: np.random.Generator, splits: int = SPLITS) -> float:
    """√r of Spearman's rank correlation, r as `reliability` has it for the cosine: what a noise-free score comes to.

    Args:
        effects: `[seed, test, left_out]`, at one step.
        random: draws the splits.
        splits: how many.

    Returns:
        Between 0 and 1; NaN with fewer than two seeds.
    """
    count = len(effects)
    half = count // 2
    if half == 0:
        return float("nan")
    agreement = []
    for _ in range(splits):
        order = random.permutation(count)
        agreement.append(spearman(effects[order[:half]].mean(0), effects[order[half : 2 * half]].mean(0)))
    c, k = max(0.0, float(np.nanmean(agreement))), count / half
    return float(np.sqrt(np.clip(k * c / (1 + (k - 1) * c), 0, 1)))
