"""Agreement over all amounts of further training: areas under curves, and dampings that are chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.agreement import Array, Mean, cosine, pearson
from fimo.comparison.tables import blocks
from fimo.effect import average, effect, without_diverged

BY_AMOUNT, BY_ONE = "damped GN, a damping for each amount", "damped GN, one damping"


def centred_gold(seeds: Sequence[xr.Dataset]) -> xr.DataArray:
    """The centred gold standard `[step, test, left_out]` with `epoch`, from losses (see `fimo.effect`)."""
    parts = (average(effect(block, "centred"), "centred") for block in blocks(without_diverged(seeds)))
    return xr.concat(parts, "step")


def ceiling_at(reliability: pd.DataFrame, gold: xr.DataArray) -> xr.DataArray:
    """The reliability ceiling √r `[step]` of the centred gold standard, with `epoch`; NaN from one seed.

    Args:
        reliability: as in `fimo.comparison.tables.Comparison`.
        gold: see `centred_gold`.

    Returns:
        `[step]`, between 0 and 1.
    """
    centred = reliability.query("adjustment == 'centred'").set_index("step")["ceiling"]
    return gold["epoch"].copy(data=centred.loc[gold["step"].values])


def agreements(
    scores: xr.DataArray, gold: xr.DataArray, measure: Callable[[Array, Array], Array] = cosine
) -> xr.DataArray:
    """Agreement with the centred gold standard, `[…, step, test]` with `epoch`.

    Args:
        scores: `[…, test, left_out]`, with an axis `step` where they depend on it.
        gold: see `centred_gold`.
        measure: `cosine` or `pearson`.

    Returns:
        Between −1 and 1; NaN for a vector without direction.
    """
    given = scores.sel(step=gold["step"]) if "step" in scores.dims else scores.expand_dims(step=gold["step"])
    given = given.sel(test=gold["test"], left_out=gold["left_out"]).transpose(..., "step", "test", "left_out")
    coordinates = {axis: given[axis].values for axis in given.dims[:-1]}
    values = xr.DataArray(measure(given.values, gold.values), coordinates, list(coordinates))
    return values.assign_coords(epoch=("step", gold["epoch"].values))


def area(values: xr.DataArray) -> xr.DataArray:
    """Mean over the logarithm of the amount, from the first evaluated one to the last: the axis `step` goes."""
    if values.sizes["step"] == 1:
        return values.isel(step=0)
    places = np.log(values["epoch"].values)
    weights = np.zeros(len(places))
    weights[:-1] += np.diff(places) / 2
    weights[1:] += np.diff(places) / 2
    return values.dot(xr.DataArray(weights / weights.sum(), dims="step"))


def cross_validated_damping(cosines: xr.DataArray) -> dict[str, xr.DataArray]:
    """Cosines `[step, test]` of a damped solve whose damping is chosen on one half of the test examples for the other.

    Args:
        cosines: `[damping, step, test]`.

    Returns:
        `BY_AMOUNT`, chosen for each step, and `BY_ONE`, chosen for all by the area under the curve.
    """
    halves = [cosines.isel(test=slice(start, None, 2)) for start in (0, 1)]
    curves: dict[str, list[xr.DataArray]] = {BY_AMOUNT: [], BY_ONE: []}
    for scored, other in (halves, halves[::-1]):
        best = other.mean("test").fillna(-np.inf).argmax("damping")
        curves[BY_AMOUNT].append(scored.isel(damping=best))
        curves[BY_ONE].append(scored.isel(damping=int(area(other).mean("test").argmax("damping"))))
    return {name: xr.concat([part.drop_vars("damping") for part in parts], "test") for name, parts in curves.items()}


def beyond_table(
    scores: Mapping[str, xr.DataArray], damped: xr.DataArray | None, gold: xr.DataArray, ceiling: xr.DataArray
) -> pd.DataFrame:
    """How much of what can be reached every method reaches over all amounts of further training.

    Args:
        scores: by label.
        damped: scores of a damped solve, `[damping, test, left_out]`, whose damping is to be chosen; None for none.
        gold: see `centred_gold`.
        ceiling: `[step]`, the reliability ceiling, with `epoch`.

    Returns:
        A row for each method, and for `damped` with a damping for each amount and with one: areas under the curves of
        cosine and Pearson correlation as shares of that under the ceiling, cosine at the first and the last amount, and
        the lowest share of the ceiling at any amount.
    """
    top = float(area(ceiling))
    measures = (cosine, pearson)
    curves = {label: [agreements(each, gold, measure) for measure in measures] for label, each in scores.items()}
    if damped is not None:
        both = [cross_validated_damping(agreements(damped, gold, measure)) for measure in measures]
        curves |= {name: [each[name] for each in both] for name in both[0]}
    rows = []
    for label, (cosines, pearsons) in curves.items():
        row: dict = {"method": label}
        for name, values in (("cosine", area(cosines) / top), ("Pearson", area(pearsons) / top)):
            mean = Mean.of(values.values)
            row |= {f"{name} area_mean": float(mean.mean), f"{name} area_sem": float(mean.sem)}
        by_step = Mean.of(cosines.transpose("step", "test").values)
        for moment, place in (("first", 0), ("last", -1)):
            row |= {f"{moment} cosine_mean": by_step.mean[place], f"{moment} cosine_sem": by_step.sem[place]}
        rows.append(row | {"lowest share": float(np.nanmin(by_step.mean / ceiling.values))})
    return pd.DataFrame(rows)
