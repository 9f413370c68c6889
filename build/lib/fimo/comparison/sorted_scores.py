"""How attribution scores are spread: sorted scores of one test example, averaged over test examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from fimo.comparison.agreement import Mean, unit
from fimo.effect import gold_standard, without_diverged

# By label, the sorted scores [rank]. The gold standard comes early and late in further training.
Profiles = Mapping[str, np.ndarray]
EARLY, LATE = "further training, early", "further training, late"


def profile(scores: np.ndarray) -> np.ndarray:
    """Scores `[test, left_out]`, each test example's scaled to unit length and sorted, then averaged: `[rank]`."""
    return Mean.of(-np.sort(-unit(scores), axis=-1).T).mean


def early_and_late(epochs: np.ndarray) -> tuple[int, int]:
    """Places of the evaluated steps nearest to 1 and to 10 epochs; of the first two where it ends before that."""
    if epochs[-1] < 10:
        return 0, min(1, len(epochs) - 1)
    places = [int(np.abs(epochs - wanted).argmin()) for wanted in (1, 10)]
    return places[0], places[1]


def profiles(scores: Mapping[str, xr.DataArray], seeds: Sequence[xr.Dataset]) -> tuple[Profiles, tuple[float, float]]:
    """Sorted scores of every method, and of further training (centred) early and late.

    Args:
        scores: `[test, left_out]` by label, of methods without a step.
        seeds: the losses of each seed (see `fimo.effect`).

    Returns:
        The profiles, and how many epochs early and late are.
    """
    seeds = without_diverged(seeds)
    epochs = seeds[0]["epoch"].values
    places = early_and_late(epochs)
    lines = {label: profile(score.values) for label, score in scores.items()}
    for label, place in zip((EARLY, LATE), places, strict=True):
        lines[label] = profile(gold_standard(seeds, place).values)
    return lines, (float(epochs[places[0]]), float(epochs[places[1]]))
