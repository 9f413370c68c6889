"""From scores and the gold standard's seeds to the tables that people read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from fimo.compare.agreement import Mean, cosine, mean_of_finite, pearson, spearman
from fimo.compare.reliability import reliability
from fimo.effect import ADJUSTMENTS, average, effect, without_diverged

# The losses of all seeds are read a few evaluations at a time, so that a hundred seeds fit in memory.
BLOCK_BYTES = 256 * 2**20
MOMENTS = ("first", "best", "last")
GROUP_SIZES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500)


@dataclass(frozen=True)
class Comparison:
    """The columns of curves.csv, seeds.csv and reliability.csv."""

    curves: pd.DataFrame
    seeds: pd.DataFrame
    reliability: pd.DataFrame


def compare(scores: Mapping[str, xr.DataArray], seeds: Sequence[xr.Dataset], random_seed: int = 0) -> Comparison:
    """Hold every method's scores against the gold standard of the given seeds.

    Args:
        scores: by label, `[test, left_out]`, or `[step, test, left_out]` for a method that depends on the step.
        seeds: the losses of each seed (see `fimo.effect`), with coordinates `step`, `epoch`, `test`, `left_out`.
            They may be open files: values are read in blocks of steps. Diverged runs are left out.
        random_seed: of the splits that measure reliability.
    """
    seeds = without_diverged(seeds)
    curves: list[dict] = []
    ceilings: list[dict] = []
    grouped: dict[tuple[str, str, int], list[np.ndarray]] = {}  # blocks of [step, test]
    sizes = [size for size in sorted({*GROUP_SIZES, len(seeds)}) if size <= len(seeds)]
    for block in _blocks(seeds):
        for adjustment in ADJUSTMENTS:
            effects = effect(block, adjustment)
            # The same splits at every step, however the steps are blocked.
            r = reliability(effects, adjustment, np.random.default_rng(random_seed))
            ceilings += [
                {"adjustment": adjustment, "step": int(step), "reliability": value, "ceiling": np.sqrt(value)}
                for step, value in zip(block["step"].values, r, strict=True)
            ]
            gold = average(effects, adjustment)
            for label, score in scores.items():
                curves += _curve(label, adjustment, score, gold, len(seeds))
            for size in sizes:
                for label, values in _grouped_cosines(scores, effects, adjustment, size).items():
                    grouped.setdefault((label, adjustment, size), []).append(values)
    return Comparison(_ordered(curves, scores), _ordered(_best_steps(grouped), scores), _ordered(ceilings, scores))


def _blocks(seeds: Sequence[xr.Dataset]) -> Iterator[xr.Dataset]:
    sizes = seeds[0].sizes
    step_bytes = len(seeds) * sizes["test"] * sizes["left_out"] * 8
    length = max(1, BLOCK_BYTES // step_bytes)
    for start in range(0, sizes["step"], length):
        steps = slice(start, start + length)
        yield xr.concat([seed.isel(step=steps).load() for seed in seeds], "seed", join="exact")


def _pair(score: xr.DataArray, gold: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays over the same steps (where the score has any), test and left-out examples."""
    wanted = {axis: gold[axis] for axis in gold.dims if axis in score.dims}
    return score.sel(wanted).transpose(..., "test", "left_out").values, gold.values


def _curve(label: str, adjustment: str, score: xr.DataArray, gold: xr.DataArray, n_seeds: int) -> list[dict]:
    pair = _pair(score, gold)
    measured = {
        name: [Mean.of(values) for values in measure(*pair)]
        for name, measure in (("cosine", cosine), ("pearson", pearson), ("spearman", spearman))
    }
    rows = []
    for t in range(gold.sizes["step"]):
        row: dict = {"method": label, "adjustment": adjustment}
        row |= {"step": int(gold["step"][t]), "epoch": float(gold["epoch"][t])}
        for name, means in measured.items():
            row |= {f"{name}_mean": means[t].mean, f"{name}_sem": means[t].sem}
        rows.append(row | {"n_test": measured["cosine"][t].count, "n_seeds": n_seeds})
    return rows


def _grouped_cosines(
    scores: Mapping[str, xr.DataArray], effects: xr.DataArray, adjustment: str, size: int
) -> dict[str, np.ndarray]:
    """Cosine `[step, test]` of each score, averaged over disjoint groups of `size` seeds."""
    cosines: dict[str, list[np.ndarray]] = {label: [] for label in scores}
    for start in range(0, effects.sizes["seed"] - size + 1, size):
        gold = average(effects.isel(seed=slice(start, start + size)), adjustment)
        for label, score in scores.items():
            cosines[label].append(cosine(*_pair(score, gold)))
    return {label: mean_of_finite(np.stack(values)) for label, values in cosines.items()}


def _best_steps(grouped: Mapping[tuple[str, str, int], list[np.ndarray]]) -> list[dict]:
    rows = []
    for (label, adjustment, size), blocks in grouped.items():
        means = [Mean.of(values) for values in np.concatenate(blocks)]
        best = max(means, key=lambda mean: -np.inf if np.isnan(mean.mean) else mean.mean)
        row = {"method": label, "adjustment": adjustment, "n_seeds": size}
        rows.append(row | {"cosine_mean": best.mean, "cosine_sem": best.sem})
    return rows


def at_moments(curve: pd.DataFrame) -> dict:
    """Amount and cosine of one method's rows of a curve at its first, its best and its last step.

    Returns:
        `first epoch`, `first cosine_mean`, `first cosine_sem`, and the same for `best` and `last`.
    """
    best = int(curve["cosine_mean"].fillna(-np.inf).argmax())
    found: dict = {}
    for moment, place in zip(MOMENTS, (0, best, -1), strict=True):
        found[f"{moment} epoch"] = curve["epoch"].iloc[place]
        found |= {f"{moment} {name}": curve[name].iloc[place] for name in ("cosine_mean", "cosine_sem")}
    return found


def _ordered(rows: list[dict], labels: Iterable[str]) -> pd.DataFrame:
    """Methods and adjustments in the order they were given, then ascending, however the steps were blocked."""
    rank = {name: number for number, name in enumerate([*labels, *ADJUSTMENTS])}
    keys = [key for key in ("method", "adjustment", "step", "n_seeds") if key in rows[0]]
    return pd.DataFrame(sorted(rows, key=lambda row: [rank.get(row[key], row[key]) for key in keys]))
