"""From scores and the gold standard's seeds to the tables that people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from fimo.compare.agreement import Mean, comparable, cosine, pearson, spearman
from fimo.compare.reliability import reliability
from fimo.effect import ADJUSTMENTS, average, effect

# The losses of all seeds are read a few evaluations at a time, so that a hundred seeds fit in memory.
BLOCK_BYTES = 256 * 2**20
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
            They may be open files: values are read in blocks of steps.
        random_seed: of the splits that measure reliability.
    """
    curves: list[dict] = []
    ceilings: list[dict] = []
    by_group: dict[tuple[str, str, int], list[np.ndarray]] = {}
    for block in _blocks(seeds):
        for adjustment in ADJUSTMENTS:
            effects = effect(block, adjustment)
            gold = average(effects, adjustment)
            # The same splits at every step, however the steps are blocked.
            r = reliability(effects, adjustment, np.random.default_rng(random_seed))
            ceilings += [
                {"adjustment": adjustment, "step": step, "reliability": value, "ceiling": np.sqrt(value)}
                for step, value in zip(block["step"].values, r, strict=True)
            ]
            for label, score in scores.items():
                curves += _curve(label, adjustment, _at(score, gold), gold, len(seeds))
            for size in (size for size in sorted({*GROUP_SIZES, len(seeds)}) if size <= len(seeds)):
                for label, values in _grouped(scores, effects, adjustment, size).items():
                    by_group.setdefault((label, adjustment, size), []).append(values)
    return Comparison(
        _sorted(curves), _best_steps(by_group), pd.DataFrame(ceilings).sort_values(["adjustment", "step"])
    )


def _blocks(seeds: Sequence[xr.Dataset]) -> Iterator[xr.Dataset]:
    sizes = seeds[0].sizes
    step_bytes = len(seeds) * sizes["test"] * sizes["left_out"] * 8
    length = max(1, BLOCK_BYTES // step_bytes)
    for start in range(0, sizes["step"], length):
        steps = slice(start, start + length)
        yield xr.concat([seed.isel(step=steps).load() for seed in seeds], "seed", join="exact")


def _at(score: xr.DataArray, gold: xr.DataArray) -> np.ndarray:
    """Scores in the order of the gold standard's axes; with its steps where the score has any."""
    wanted = {axis: gold[axis] for axis in gold.dims if axis in score.dims}
    return score.sel(wanted).transpose(..., "test", "left_out").values


def _curve(label: str, adjustment: str, score: np.ndarray, gold: xr.DataArray, n_seeds: int) -> list[dict]:
    score, effects = comparable(score, gold.values)
    measured = {
        name: [Mean.of(values) for values in measure(score, effects)]
        for name, measure in (("cosine", cosine), ("pearson", pearson), ("spearman", spearman))
    }
    return [
        {
            "method": label,
            "adjustment": adjustment,
            "step": int(gold["step"][t]),
            "epoch": float(gold["epoch"][t]),
            "cosine_mean": measured["cosine"][t].mean,
            "cosine_sem": measured["cosine"][t].sem,
            "pearson_mean": measured["pearson"][t].mean,
            "pearson_sem": measured["pearson"][t].sem,
            "spearman_mean": measured["spearman"][t].mean,
            "spearman_sem": measured["spearman"][t].sem,
            "n_test": measured["cosine"][t].count,
            "n_seeds": n_seeds,
        }
        for t in range(gold.sizes["step"])
    ]


def _grouped(
    scores: Mapping[str, xr.DataArray], effects: xr.DataArray, adjustment: str, size: int
) -> dict[str, np.ndarray]:
    """Cosine `[step, test]` by label, averaged over disjoint groups of `size` seeds."""
    totals: dict[str, list[np.ndarray]] = {label: [] for label in scores}
    for start in range(0, effects.sizes["seed"] - size + 1, size):
        gold = average(effects.isel(seed=slice(start, start + size)), adjustment)
        for label, score in scores.items():
            totals[label].append(cosine(*comparable(_at(score, gold), gold.values)))
    return {label: np.mean(values, axis=0) for label, values in totals.items()}


def _best_steps(by_group: Mapping[tuple[str, str, int], list[np.ndarray]]) -> pd.DataFrame:
    rows = []
    for (label, adjustment, size), blocks in by_group.items():
        steps = [Mean.of(values) for values in np.concatenate(blocks)]
        best = max(steps, key=lambda step: -np.inf if np.isnan(step.mean) else step.mean)
        rows.append(
            {"method": label, "adjustment": adjustment, "n_seeds": size}
            | {"cosine_mean": best.mean, "cosine_sem": best.sem}
        )
    return pd.DataFrame(rows).sort_values(["method", "adjustment", "n_seeds"], kind="stable")


def _sorted(curves: list[dict]) -> pd.DataFrame:
    """Methods and adjustments in the order they were given, steps ascending, however the steps were blocked."""
    table = pd.DataFrame(curves)
    order = {label: number for number, label in enumerate(table["method"].unique())}
    rank = {adjustment: number for number, adjustment in enumerate(ADJUSTMENTS)}
    key = pd.DataFrame({"m": table["method"].map(order), "a": table["adjustment"].map(rank), "s": table["step"]})
    return table.loc[key.sort_values(["m", "a", "s"]).index].reset_index(drop=True)
