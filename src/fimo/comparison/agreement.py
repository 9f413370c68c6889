"""Agreement of scores with the gold standard, over the last axis, `left_out`.

Plain arrays in float64. Vectors are scaled to unit length before they are multiplied: the scores and effects compared
here are often far below 1e-8, where a clamp on the norm would shrink the cosine. A vector without direction (all zero,
or constant where a correlation is asked for) has agreement NaN; means leave it out and count the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def unit(vectors: Array) -> Array:
    """Vectors `[…, left_out]` of length 1; NaN for those without a direction."""
    # Scaled by the largest entry first: squares of very small numbers would underflow.
    largest = np.abs(vectors).max(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        vectors = vectors / largest
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def centred(vectors: Array) -> Array:
    """Vectors `[…, left_out]` minus their mean; zero where all entries are equal."""
    constant = np.ptp(vectors, axis=-1, keepdims=True) == 0
    return np.where(constant, 0.0, vectors - vectors.mean(-1, keepdims=True))


def cosine(scores: Array, effects: Array) -> Array:
    """Cosine similarity `[…]` of vectors `[…, left_out]`; leading axes broadcast.

    Args:
        scores: `[…, left_out]`.
        effects: `[…, left_out]`; leading axes broadcast.

    Returns:
        `[…]`, between −1 and 1; NaN for a vector without direction.
    """
    return np.einsum("...i,...i->...", unit(scores), unit(effects))


def pearson(scores: Array, effects: Array) -> Array:
    """Pearson correlation `[…]` of vectors `[…, left_out]`: the cosine of both, centred.

    Args:
        scores: `[…, left_out]`.
        effects: `[…, left_out]`; leading axes broadcast.

    Returns:
        `[…]`, between −1 and 1; NaN for a vector without direction.
    """
    return cosine(centred(scores), centred(effects))


def spearman(scores: Array, effects: Array) -> Array:
    """Spearman correlation `[…]` of vectors `[…, left_out]`; ties get their mean rank.

    Args:
        scores: `[…, left_out]`.
        effects: `[…, left_out]`; leading axes broadcast.

    Returns:
        `[…]`, between −1 and 1; NaN for a vector without direction.
    """
    from scipy.stats import rankdata  # a second that a run whose results are there need not wait for

    return pearson(rankdata(scores, axis=-1), rankdata(effects, axis=-1))


@dataclass(frozen=True)
class Mean:
    """Means over test examples `[…]` with their standard errors; NaN entries are left out and not counted."""

    mean: Array
    sem: Array
    count: NDArray[np.int64]

    @classmethod
    def of(cls, values: Array) -> Mean:
        """Mean (NaN of nothing), standard error (NaN of fewer than two) and count of `values […, test]`."""
        kept = ~np.isnan(values)
        count = kept.sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(kept, values, 0).sum(-1) / count
            squares = np.where(kept, values - mean[..., None], 0) ** 2
            return cls(mean, np.where(count > 1, np.sqrt(squares.sum(-1) / (count - 1) / count), np.nan), count)
