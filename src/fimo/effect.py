"""The effect of leaving a training example out, and its three adjustments (arXiv 2412.03906, eq. 13 and 17).

Losses are a Dataset with `loss_before [test]`, `loss_full [step, test]` and `loss_left_out [step, test, left_out]`,
each with an axis `seed` in front where several seeds are together. Tangents of further training have no left-out runs:
they give `effect [step, test, left_out]`, the difference to `loss_full` itself, in place of `loss_left_out`. Sign: a
positive effect is a rise of the test loss when the example is left out, so the example helped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import xarray as xr

Values = TypeVar("Values", xr.DataArray, xr.Dataset)
# none: loss after minus loss before further training; full: eq. 17; centred: eq. 17 and eq. 13.
ADJUSTMENTS = ("none", "full", "centred")


def _of_left_out(losses: xr.Dataset) -> str:
    """Which of the two has a number for each left-out example."""
    return "effect" if "effect" in losses else "loss_left_out"


def effect(losses: xr.Dataset, adjustment: str) -> xr.DataArray:
    """Effect of each left-out example on each test loss, `[…, step, test, left_out]`, in units of the loss.

    `none` compares with the loss before further training, the others with the loss after further training on all
    examples with the same seed: ℓ_j(θ_t(D∖i, ξ)) − ℓ_j(θ_t(D, ξ)), eq. 17. Centring (eq. 13) comes after the mean over
    seeds, in `average`.

    Args:
        losses: of further training, of one seed or several.
        adjustment: one of `ADJUSTMENTS`.

    Returns:
        The effects, in units of the loss.
    """
    before, full, name = losses["loss_before"], losses["loss_full"], _of_left_out(losses)
    if name == "effect":
        effects = losses[name] + (full - before) if adjustment == "none" else losses[name]
    else:
        effects = losses[name] - (before if adjustment == "none" else full)
    return effects.transpose(*losses[name].dims)


def average(effects: xr.DataArray, adjustment: str) -> xr.DataArray:
    """The gold standard a*, or centred a*: the mean of effects over seeds.

    Args:
        effects: `[seed, step, test, left_out]`, of the same adjustment.
        adjustment: one of `ADJUSTMENTS`.

    Returns:
        `[step, test, left_out]`, in units of the loss.
    """
    mean = effects.mean("seed", skipna=False)
    return centre(mean) if adjustment == "centred" else mean


def gold_standard(seeds: Sequence[xr.Dataset], place: int, adjustment: str = "centred") -> xr.DataArray:
    """a* `[test, left_out]` at one evaluated step, the mean over seeds whose files need not be read for the others.

    Args:
        seeds: losses without diverged runs (see `without_diverged`).
        place: of the step among those that were evaluated; negative from the last.
        adjustment: one of `ADJUSTMENTS`.

    Returns:
        `[test, left_out]`, in units of the loss.
    """
    losses = xr.concat([losses.isel(step=[place]).load() for losses in seeds], "seed", join="exact")
    return average(effect(losses, adjustment), adjustment).isel(step=0)


def last_step(values: Values) -> Values:
    """Values after the last step of further training; themselves where they don't depend on it."""
    return values.isel(step=-1) if "step" in values.dims else values


def centre(effects: xr.DataArray) -> xr.DataArray:
    """Subtract the mean over left-out examples, eq. 13; a row of equal effects becomes exactly zero."""
    constant = effects.max("left_out", skipna=False) == effects.min("left_out", skipna=False)
    return (effects - effects.mean("left_out", skipna=False)).where(~constant, 0)


def with_diverged_as_nan(losses: xr.Dataset) -> xr.Dataset:
    """One seed's losses with NaN in the whole column of an example whose run (or tangent) left the finite numbers.

    A full run that diverged makes `loss_full` NaN, and with it every adjusted effect of the seed.
    """
    name, full = _of_left_out(losses), losses["loss_full"]
    stayed = xr.apply_ufunc(np.isfinite, full).all()
    columns = xr.apply_ufunc(np.isfinite, losses[name]).all(["step", "test"])
    finite = columns & stayed if name == "effect" else columns  # a tangent has no run of its own
    return losses.assign({name: losses[name].where(finite), "loss_full": full.where(stayed)})


def _is_nan(losses: xr.Dataset) -> np.ndarray:
    """Which left-out examples have NaN in place of losses, `[left_out]`."""
    return np.isnan(losses[_of_left_out(losses)].isel(step=-1, test=0).values)


def diverged(losses: xr.Dataset, label: Callable[[int], str] = str) -> list[str]:
    """The runs of one seed that diverged: `left-out 17`, or `the full run`.

    Args:
        losses: of the seed.
        label: what a row or group on the axis `left_out` is called.
    """
    bad = losses["left_out"].values[_is_nan(losses)]
    full = ["the full run"] if bool(np.isnan(losses["loss_full"]).any()) else []
    return full + [f"left-out {label(int(number))}" for number in bad]


def without_diverged(seeds: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """What can be compared: seeds whose full run is finite, and left-out examples that are finite for all of these.

    All seeds have to keep the same examples: what is common to all examples of a seed (which centring removes) would
    otherwise fall on some of them alone. Where nothing would be left, everything stays, and no agreement is a number.
    """
    finite = [losses for losses in seeds if not bool(np.isnan(losses["loss_full"]).any())]
    columns = [~_is_nan(losses) for losses in finite]
    kept = np.logical_and.reduce(columns) if columns else np.array(False)
    return [losses.isel(left_out=kept) for losses in finite] if kept.any() else list(seeds)
