"""The paper's claims (arXiv 2412.03906) as statistics with their uncertainty.

A statistic is above zero where its claim holds. It is taken from curves `[step, gold, method, replicate]`, mean cosines
over test examples; the first replicate is what was measured, the others have test examples and seeds resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.agreement import Array
from fimo.comparison.amounts import log_spaced
from fimo.comparison.seed_products import SeedProducts, stacked
from fimo.comparison.verdicts import claim_row, ends, significantly_positive, unmeasured_row
from fimo.effect import ADJUSTMENTS, without_diverged
from fimo.errors import UserError
from fimo.labels import Label

# What claims may need.
FIRST, INFLUENCE = "first-order method", "influence-function method"
SECOND_STEP, SECOND_SEED = "second evaluated step", "second seed"
FAMILIES = {FIRST: ("Grad-Dot", "Grad-Cos", "DataInf"), INFLUENCE: ("CG", "LiSSA", "LiSSA-H", "EK-FAC", "TRAK")}
# What scores are compared with: the mean over seeds with each adjustment, or single seeds (centred).
GOLDS = (*ADJUSTMENTS, "single")
# At most so many of the evaluated steps are looked at, log-spaced.
STEPS = 12
HIGH, REPLICATES, BOOTSTRAP_SHRINKAGE = 0.5, 200, 0.1

# What one run measured: scores by label, and the losses of each seed.
Run = tuple[Mapping[str, xr.DataArray], Sequence[xr.Dataset]]


@dataclass(frozen=True)
class Claim:
    """A claim, its statistic in words and as a function, and what it needs to be measured.

    `value` takes the centred curves of first-order and of influence-function methods, and all curves; the mean is taken
    over what it leaves of `step` and `method`.
    """

    name: str
    words: str
    value: Callable[[xr.DataArray, xr.DataArray, xr.DataArray], xr.DataArray]
    needs: tuple[str, ...] = ()


def _range(curves: xr.DataArray) -> xr.DataArray:
    return (curves.max("step") - curves.min("step")).mean("method")


CLAIMS = (
    Claim(
        "first-order methods start high",
        f"cosine at the first evaluated step, mean over first-order methods, minus {HIGH} (a bound of our choice)",
        lambda first, influence, every: first.isel(step=0) - HIGH,
        (FIRST,),
    ),
    Claim(
        "first-order methods decay",
        "cosine at the first evaluated step minus cosine at the last, mean over first-order methods",
        lambda first, influence, every: first.isel(step=0) - first.isel(step=-1),
        (FIRST, SECOND_STEP),
    ),
    Claim(
        "influence functions are steadier",
        "largest minus smallest cosine of a curve, mean over first-order methods minus mean over influence functions",
        lambda first, influence, every: _range(first) - _range(influence),
        (FIRST, INFLUENCE, SECOND_STEP),
    ),
    Claim(
        "influence functions are lower",
        "cosine at a method's best step, mean over first-order methods minus mean over influence functions",
        lambda first, influence, every: first.max("step").mean("method") - influence.max("step").mean("method"),
        (FIRST, INFLUENCE),
    ),
    Claim(
        "subtracting the effect of further training raises agreement",
        "cosine with eq. 17's effects minus cosine with plain changes of the loss, mean over all methods and steps",
        lambda first, influence, every: every.sel(gold="full") - every.sel(gold="none"),
    ),
    Claim(
        "centring raises agreement",
        "cosine with centred effects (eq. 13) minus cosine with eq. 17's, mean over all methods and steps",
        lambda first, influence, every: every.sel(gold="centred") - every.sel(gold="full"),
    ),
    Claim(
        "averaging seeds raises agreement",
        "cosine with the mean over all seeds minus mean cosine with single seeds, mean over all methods and steps",
        lambda first, influence, every: every.sel(gold="centred") - every.sel(gold="single"),
        (SECOND_SEED,),
    ),
)
ADAM = Claim(
    "Adam agrees better than SGD",
    "cosine after further training with Adam minus cosine with SGD, mean over all methods and the amounts of further "
    "training (epochs) of both runs",
    lambda first, influence, every: every.sel(gold="centred"),  # of Adam's curves minus SGD's
)


def base_of(label: str) -> str:
    """The method that a label is a variant of, by its damping or the like; one whose gradients are moved is another."""
    return label if "moved" in label else Label.parse(label).base


def claims(
    scores: Mapping[str, xr.DataArray], seeds: Sequence[xr.Dataset], random: np.random.Generator
) -> pd.DataFrame:
    """A row for each claim that one run can measure.

    Args:
        scores: by label, `[test, left_out]`, or `[step, test, left_out]` for a method that depends on the step.
        seeds: the losses of each seed, as in `fimo.comparison.tables.compare`; of open files few steps are read.
        random: draws the replicates.

    Returns:
        `claim`, `statistic` (in words), `estimate`, `standard_error`, `low` and `high` (two standard errors away),
        `verdict`, `note`, `n_test`, `n_seeds`.
    """
    seeds = without_diverged(seeds)
    weights = _weights(seeds[0].sizes["test"], random), _weights(len(seeds), random)
    epochs = _epochs(seeds)
    curves, n_test = _curves(scores, seeds, epochs[log_spaced(epochs, STEPS)], *weights)
    return pd.DataFrame([_row(claim, curves, n_test, len(seeds)) for claim in CLAIMS])


def adam_claim(sgd: Run, adam: Run, random: np.random.Generator) -> pd.DataFrame:
    """The row of Adam against SGD, from two runs with one final model, paired by test example.

    Args:
        sgd: scores and losses after further training with SGD.
        adam: the same with Adam.
        random: draws the replicates.

    Returns:
        One row, the columns of `claims`.

    Raises:
        UserError: where they have no method, test example, left-out example or amount of further training in common.
    """
    one, two = (without_diverged(run[1]) for run in (sgd, adam))
    common = {axis: np.intersect1d(one[0][axis], two[0][axis]) for axis in ("test", "left_out")}
    epochs, labels = np.intersect1d(_epochs(one), _epochs(two)), [label for label in sgd[0] if label in adam[0]]
    for name, shared in {**common, "epoch": epochs, "method": np.array(labels)}.items():
        if not shared.size:
            raise UserError(f"The runs with SGD and with Adam can't be compared: they have no {name} in common.")
    tests, curves = _weights(len(common["test"]), random), []
    for run, each in zip((sgd, adam), (one, two), strict=True):
        own = {label: run[0][label] for label in labels}, [losses.sel(common) for losses in each]
        curves.append(_curves(*own, epochs[log_spaced(epochs, STEPS)], tests, _weights(len(each), random)))
    n_test, n_seeds = min(count for _, count in curves), min(len(one), len(two))
    return pd.DataFrame([_row(ADAM, curves[1][0] - curves[0][0], n_test, n_seeds)])


def _weights(count: int, random: np.random.Generator) -> Array:
    """Weights of `count` test examples or seeds: equal ones, then a row for each replicate of the bootstrap.

    A replicate draws with replacement one fewer than there are, whose mean spreads as the mean does, without bias. Its
    weights then go a tenth of the way (`BOOTSTRAP_SHRINKAGE`) from equal ones to those drawn, and `_row` takes ten
    times the spread around the estimate. All the way would be too far with few seeds: a mean with seeds drawn twice is
    noisier than the mean itself, so its cosines are lower (percentiles would miss the estimate), and what averaging
    gains, nothing where a replicate draws one seed only, would seem several times as uncertain as it is.
    """
    equal = np.full(count, 1 / count)
    if count == 1:
        return np.ones((1 + REPLICATES, 1))
    drawn = random.multinomial(count - 1, equal, REPLICATES) / (count - 1)
    return np.concatenate([equal[None], equal + BOOTSTRAP_SHRINKAGE * (drawn - equal)])


def _epochs(seeds: Sequence[xr.Dataset]) -> Array:
    return seeds[0]["epoch"].values.round(9)


def _curves(
    scores: Mapping[str, xr.DataArray], seeds: Sequence[xr.Dataset], epochs: Array, tests: Array, draws: Array
) -> tuple[xr.DataArray, int]:
    """Curves with test examples and seeds weighted by `tests` and `draws`, and how many test examples have a cosine."""
    curves, counted = [], np.zeros(tests.shape[1], bool)
    for place in np.searchsorted(_epochs(seeds), epochs):
        losses = xr.concat([each.isel(step=[place]).load() for each in seeds], "seed", join="exact")
        cosines = _cosines(SeedProducts.of(losses, stacked(list(scores.values()), losses)), draws)
        cosines[:, np.isnan(cosines).any(0)] = np.nan  # golds are compared on the same test examples
        counted |= ~np.isnan(cosines[0, :, 0]).all(0)
        curves.append(_mean(cosines[..., None, :], tests)[..., 0])
    coords = {"step": epochs, "gold": list(GOLDS), "method": list(scores)}
    return xr.DataArray(np.stack(curves), coords, (*coords, "replicate")), int(counted.sum())


def _cosines(products: SeedProducts, draws: Array) -> Array:
    """Cosines `[gold, method, replicate, test]` with each of `GOLDS`, seeds weighted by `draws`, at one step."""
    draws, which = np.unique(draws, axis=0, return_inverse=True)  # of few seeds there are few draws
    means = products.cosines(draws)
    single = products.cosines(np.eye(draws.shape[1]))["centred"][0].swapaxes(0, 1)  # [method, test, seed]
    golds = [means[adjustment][0].transpose(1, 2, 0) for adjustment in ADJUSTMENTS]
    return np.stack([*golds, _mean(single[:, None], draws)])[:, :, which]


def _mean(values: Array, weights: Array) -> Array:
    """Weighted mean over the last axis of what isn't NaN: `[…, replicate or 1, row, item]`, `[replicate, item]`."""
    kept, weights = ~np.isnan(values), weights[..., None]
    with np.errstate(invalid="ignore"):
        return ((np.where(kept, values, 0) @ weights) / (kept @ weights))[..., 0]


def _row(claim: Claim, curves: xr.DataArray, n_test: int, n_seeds: int) -> dict:
    bases = [base_of(label) for label in curves["method"].values]
    centred = curves.sel(gold="centred")
    first, influence = (centred.isel(method=np.isin(bases, FAMILIES[family])) for family in FAMILIES)
    available = {FIRST: first.size, INFLUENCE: influence.size, SECOND_STEP: len(curves) > 1, SECOND_SEED: n_seeds > 1}
    if missing := [need for need in claim.needs if not available[need]]:
        return unmeasured_row(claim.name, claim.words, missing, (n_test, n_seeds))
    statistic = claim.value(first, influence, curves)
    values = statistic.mean([axis for axis in statistic.dims if axis != "replicate"]).values
    if np.isnan(values[0]):
        return unmeasured_row(claim.name, claim.words, ["cosine"], (n_test, n_seeds))
    resampled = [name for name, count in (("test examples", n_test), ("seeds", n_seeds)) if count > 1]
    spread = np.sqrt(np.mean((values[1:] - values[0]) ** 2))
    number = values[0], spread / BOOTSTRAP_SHRINKAGE if resampled else np.nan
    note = f"resampled: {' and '.join(resampled) or 'nothing'}"
    return claim_row(claim.name, claim.words, number, significantly_positive(*ends(*number)), note, (n_test, n_seeds))
