"""From scores and the gold standard's seeds to the tables that people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.agreement import Mean, pearson, spearman
from fimo.comparison.reliability import reliability
from fimo.comparison.seed_products import SeedProducts, stacked
from fimo.effect import without_diverged
from fimo.errors import UserError
from fimo.memory import SEED_COMPARISON_BYTES, SEED_READ_BYTES

MEASURES = ("cosine", "pearson", "spearman")
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

    Returns:
        The three tables.

    Raises:
        UserError: for one left-out example.
    """
    require_several(seeds[0].sizes["left_out"])
    seeds = without_diverged(seeds)
    per_test = xr.concat([_compared(scores, block, random_seed) for block in blocks(seeds)], "step")
    means = {name: _mean(per_test[name]) for name in MEASURES}
    curves = xr.merge(
        [mean.rename({"mean": f"{name}_mean", "sem": f"{name}_sem"}) for name, mean in means.items()], compat="override"
    )
    curves = curves.drop_vars("count").assign(n_test=means["cosine"]["count"], n_seeds=len(seeds))
    ceilings = per_test[["reliability"]].assign(ceiling=np.sqrt(per_test["reliability"]))
    return Comparison(
        _rows(curves, "method", "adjustment", "step"),
        _rows(_at_best_step(per_test["grouped"]), "method", "adjustment", "n_seeds"),
        _rows(ceilings, "adjustment", "step").drop(columns="epoch"),
    )


def require_several(left_out: int) -> None:
    """Refuse a comparison that has no numbers.

    Args:
        left_out: how many examples are left out.

    Raises:
        UserError: for one.
    """
    if left_out < 2:
        raise UserError(
            f"A comparison needs at least two left-out examples, found {left_out}: effects are centred (eq. 13), which "
            "makes a single one zero; leave more out (data.left_out, data.left_out_first)."
        )


def blocks(seeds: Sequence[xr.Dataset]) -> Iterator[xr.Dataset]:
    """The losses of all seeds, a few steps at a time; the next ones are read meanwhile."""
    sizes = seeds[0].sizes
    step_bytes = len(seeds) * sizes["test"] * sizes["left_out"] * 8
    at_once, length = (max(1, size // step_bytes) for size in (SEED_READ_BYTES, SEED_COMPARISON_BYTES))

    def read(start: int) -> xr.Dataset:
        chosen = [seed.isel(step=slice(start, start + at_once)).load() for seed in seeds]
        return xr.concat(chosen, "seed", join="exact")

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, 0)
        for start in range(0, sizes["step"], at_once):
            losses = coming.result()
            if start + at_once < sizes["step"]:
                coming = reader.submit(read, start + at_once)
            for first in range(0, losses.sizes["step"], length):
                yield losses.isel(step=slice(first, first + length))


def _compared(scores: Mapping[str, xr.DataArray], losses: xr.Dataset, random_seed: int) -> xr.Dataset:
    """What some steps give: the `MEASURES` and cosines with groups of seeds for each test example, reliability."""
    given = stacked(list(scores.values()), losses)
    products = SeedProducts.of(losses, given)
    mean = products.effects.mean(2)[:, :, None]  # but for eq. 13's constant, which no correlation sees
    sizes, weights = _groups(losses.sizes["seed"])
    cosines = np.stack(list(products.cosines(weights).values()))  # [adjustment, step, test, method, group]
    grouped = [Mean.of(cosines[..., sizes == size]).mean for size in np.unique(sizes)]
    # The same splits at every step, however the steps are blocked.
    reliable = reliability(products, np.random.default_rng(random_seed))
    by_method = ("step", "test", "method")
    return xr.Dataset(
        {
            "cosine": (("adjustment", *by_method), cosines[..., -1]),  # the last group is all seeds
            "pearson": (by_method, pearson(given, mean)),
            "spearman": (by_method, spearman(given, mean)),
            "grouped": (("n_seeds", "adjustment", *by_method), np.stack(grouped)),
            "reliability": (("adjustment", "step"), np.stack(list(reliable.values()))),
        },
        coords={
            "method": list(scores),
            "adjustment": list(products.means),
            "step": losses["step"],
            "epoch": losses["epoch"],
            "n_seeds": np.unique(sizes),
        },
    )


def _groups(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint groups of so many seeds: the size of each, ascending up to all, and their weights `[group, seed]`."""
    sizes = [size for size in sorted({*GROUP_SIZES, count}) if size <= count]
    groups = [(size, start) for size in sizes for start in range(0, count - size + 1, size)]
    seed = np.arange(count)
    weights = [((seed >= start) & (seed < start + size)) / size for size, start in groups]
    return np.array([size for size, _ in groups]), np.stack(weights)


def _mean(values: xr.DataArray) -> xr.Dataset:
    """`mean`, `sem` and `count` over test examples."""
    axes = [axis for axis in values.dims if axis != "test"]
    summary = Mean.of(values.transpose(*axes, "test").values)
    coords = values.isel(test=0).coords
    return xr.Dataset({name: (axes, getattr(summary, name)) for name in ("mean", "sem", "count")}, coords)


def _at_best_step(grouped: xr.DataArray) -> xr.Dataset:
    means = _mean(grouped)
    best = means["mean"].fillna(-np.inf).argmax("step")
    chosen = means[["mean", "sem"]].isel(step=best).drop_vars(["step", "epoch"])
    return chosen.rename({"mean": "cosine_mean", "sem": "cosine_sem"})


def _rows(table: xr.Dataset, *axes: str) -> pd.DataFrame:
    """A row for each entry, the last of the axes the fastest."""
    rows = xr.broadcast(table)[0].to_dataframe(dim_order=list(axes)).reset_index()
    named = [name for name in ("epoch",) if name in rows]
    return rows[[*axes, *named, *table.data_vars]]


def best_place(curve: pd.DataFrame) -> int:
    """Place of the highest mean cosine among the rows of one method's curve; the first where no cosine is a number."""
    return int(curve["cosine_mean"].fillna(-np.inf).argmax())


def at_moments(curve: pd.DataFrame) -> dict:
    """Amount and cosine of one method's rows of a curve at its first, its best and its last step.

    Returns:
        `first epoch`, `first cosine_mean`, `first cosine_sem`, and the same for `best` and `last`.
    """
    row: dict = {}
    for moment, place in zip(MOMENTS, (0, best_place(curve), -1), strict=True):
        row[f"{moment} epoch"] = curve["epoch"].iloc[place]
        row |= {f"{moment} {name}": curve[name].iloc[place] for name in ("cosine_mean", "cosine_sem")}
    return row


def best_method(curves: pd.DataFrame, adjustment: str = "centred") -> tuple[str, float, float] | None:
    """The method with the highest mean cosine at any evaluated amount of further training.

    Args:
        curves: the columns of curves.csv.
        adjustment: one of `fimo.effect.ADJUSTMENTS`.

    Returns:
        Its label, that cosine, and the amount in epochs; None where no cosine is a number.
    """
    rows = curves.query("adjustment == @adjustment").reset_index(drop=True)
    if not rows["cosine_mean"].notna().any():
        return None
    best = rows.iloc[best_place(rows)]
    return str(best["method"]), float(best["cosine_mean"]), float(best["epoch"])
