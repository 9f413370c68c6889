"""The training examples that helped and harmed a test example most, by each ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from fimo.effect import centre, gold_standard, last_step, without_diverged

# The gold standard's name in rankings.
GOLD = "a*"


@dataclass(frozen=True)
class Extremes:
    """The ends of one ranking of the left-out examples.

    Attributes:
        helpful: `(training row, score)`, the largest score first; positive scores only.
        harmful: the same from the other end; negative scores only.
    """

    helpful: tuple[tuple[int, float], ...]
    harmful: tuple[tuple[int, float], ...]


def extremes(scores: xr.DataArray, count: int) -> Extremes:
    """The `count` largest and smallest of one test example's scores `[left_out]`; NaN takes no part.

    Args:
        scores: `[left_out]`.
        count: how many at each end.

    Returns:
        Both ends.
    """
    values, rows = scores.values, scores["left_out"].values
    order = np.argsort(values, kind="stable")[::-1]
    order = order[~np.isnan(values[order])]
    pairs = [(int(rows[place]), float(values[place])) for place in order]
    helpful = [pair for pair in pairs[:count] if pair[1] > 0]
    harmful = [pair for pair in pairs[::-1][:count] if pair[1] < 0]
    return Extremes(tuple(helpful), tuple(harmful))


def rankings(scores: Mapping[str, xr.DataArray], seeds: Sequence[xr.Dataset]) -> dict[str, xr.DataArray]:
    """The gold standard after the first and the last evaluated step, the last centred too, then every method.

    Args:
        scores: by label, `[test, left_out]`, or `[step, test, left_out]`, of which the last step is taken.
        seeds: the losses of each seed (see `fimo.effect`).

    Returns:
        `[test, left_out]` by name, the gold standard first.
    """
    seeds = without_diverged(seeds)
    golds = {}
    for step in (0, -1):
        gold = gold_standard(seeds, step, "full")
        golds[f"{GOLD}, epoch {float(gold['epoch']):.3g}"] = gold
    golds[f"{GOLD} centred, epoch {float(gold['epoch']):.3g}"] = centre(gold)
    last = {label: last_step(score) for label, score in scores.items()}
    return {**golds, **last}
