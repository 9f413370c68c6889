"""What quality costs: how much of the ceiling's area an estimate reaches, beside the processor seconds it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.agreement import Mean
from fimo.comparison.area import agreements, area, ceiling_at, centred_gold
from fimo.effect import without_diverged


@dataclass(frozen=True)
class Estimate:
    """Scores, by whatever means, and what they cost.

    Attributes:
        label: its name.
        scores: `[test, left_out]`, with an axis `step` where they depend on it.
        processor_seconds: that they took; NaN where this was not measured.
        seed: of further training whose order of examples they have seen. They are held against the mean of the other
            seeds, since they share the noise of their own. None for scores that come from the final model alone.
    """

    label: str
    scores: xr.DataArray
    processor_seconds: float
    seed: int | None = None


def reliability_of_fewer(reliability: pd.DataFrame, seeds: int, fewer: int) -> pd.DataFrame:
    """The reliability of the mean over fewer seeds, by the Spearman–Brown formula.

        r(1) = r / (S − (S − 1) r),   r(m) = m r(1) / (1 + (m − 1) r(1))

    Args:
        reliability: of the mean over all seeds, with its `reliability` r and `ceiling` √r.
        seeds: S, how many these are.
        fewer: m.

    Returns:
        The same rows for m seeds.
    """
    r = reliability["reliability"]
    single = r / (seeds - (seeds - 1) * r)
    r = fewer * single / (1 + (fewer - 1) * single)
    return reliability.assign(reliability=r, ceiling=np.sqrt(r))


def quality_table(
    estimates: Sequence[Estimate], seeds: Mapping[int, xr.Dataset], reliability: pd.DataFrame
) -> pd.DataFrame:
    """Every estimate's share of the area under the ceiling, its cost, and whether a cheaper one reaches as much.

    Args:
        estimates: in any order.
        seeds: losses of each seed of further training (see `fimo.effect`).
        reliability: of their mean, as in `fimo.comparison.tables.Comparison`.

    Returns:
        `method`, `share_mean`, `share_sem` over test examples, `processor_seconds`, `on_frontier`; the cheapest first.
    """
    kept = numbered(seeds)

    @cache
    def truth(seed: int | None) -> tuple[xr.DataArray, float] | None:
        """The gold standard without a seed, and the area under its ceiling."""
        others = [losses for losses in kept if seed is None or int(losses["seed"]) != seed]
        if not others:
            return None
        gold = centred_gold(others)
        ceiling = area(ceiling_at(reliability_of_fewer(reliability, len(kept), len(others)), gold))
        return gold, float(ceiling) or np.nan

    rows = []
    for estimate in estimates:
        row: dict[str, object] = {"method": estimate.label, "share_mean": np.nan, "share_sem": np.nan}
        if (known := truth(estimate.seed)) is not None:
            gold, top = known
            measured = gold.isel(left_out=gold["left_out"].isin(estimate.scores["left_out"]).values)
            share = Mean.of((area(agreements(estimate.scores, measured)) / top).values)
            row |= {"share_mean": float(share.mean), "share_sem": float(share.sem)}
        rows.append(row | {"processor_seconds": estimate.processor_seconds})
    table = pd.DataFrame(rows).sort_values("processor_seconds", kind="stable", ignore_index=True)
    return table.assign(on_frontier=on_frontier(table))


def numbered(seeds: Mapping[int, xr.Dataset]) -> list[xr.Dataset]:
    """Losses without diverged runs (see `fimo.effect.without_diverged`), each with the number of its seed, `seed`.

    Args:
        seeds: losses of each seed of further training.
    """
    return without_diverged([losses.assign_coords(seed=seed) for seed, losses in seeds.items()])


def on_frontier(table: pd.DataFrame) -> pd.Series:
    """Which rows reach more than every row that costs no more.

    Args:
        table: with `share_mean` and `processor_seconds`; rows without one of them are not on it.
    """
    known = table[["share_mean", "processor_seconds"]].notna().all(axis=1)
    ordered = table[known].sort_values(["processor_seconds", "share_mean"], ascending=[True, False])
    before = ordered["share_mean"].cummax().shift(fill_value=-np.inf)
    return (ordered["share_mean"] > before).reindex(table.index, fill_value=False)
