"""Is a ranking true? What leaving the rows that it names out does to a test example, beside what it predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.agreement import spearman
from fimo.effect import effect, without_diverged

# The rows that nobody named, in the place of a method's label.
RANDOM_ROWS = "random rows"
# The ends of a ranking whose rows leave.
HELPFUL, HARMFUL = "helpful", "harmful"
KEYS = ["method", "test", "share", "rows"]


@dataclass(frozen=True)
class Removal:
    """One way to choose rows that leave together.

    Attributes:
        method: whose ranking names them, its label; `RANDOM_ROWS` for none.
        test: position of the test example in its split; None for random rows, which are those of every test example.
        share: of the training rows.
        rows: positions among the training rows, ascending.
    """

    method: str
    test: int | None
    share: float
    rows: tuple[int, ...]


def removals(
    scores: Mapping[str, xr.DataArray], sizes: Mapping[float, int], random: int, seed: int, end: str = HELPFUL
) -> list[Removal]:
    """The rows that every method holds most helpful or most harmful to every test example, and random ones.

    Args:
        scores: by label, `[test, left_out]`, of all training rows by themselves.
        sizes: rows of a group, by share of the training rows.
        random: groups of random rows of each size.
        seed: that they are drawn with.
        end: of the rankings, `helpful` or `harmful`.

    Returns:
        The removals; random rows first. A method names none of a size for a test example where fewer rows have scores.
    """
    n, generator = next(iter(scores.values())).sizes["left_out"], np.random.default_rng(seed)
    chosen = []
    for share, size in sizes.items():
        draws = (np.sort(generator.choice(n, size, replace=False)) for _ in range(random))
        chosen += [Removal(RANDOM_ROWS, None, share, tuple(rows.tolist())) for rows in draws]
    for label, score in scores.items():
        for test in score["test"].values.tolist():
            order = _from_the_end(score.sel(test=test).values, end)
            for share, size in sizes.items():
                if size <= len(order):
                    chosen.append(Removal(label, test, share, tuple(np.sort(order[:size]).tolist())))
    return chosen


def _from_the_end(scores: np.ndarray, end: str) -> np.ndarray:
    """Positions of the rows with scores from one end of their ranking to the other; NaN is none."""
    order = np.argsort(-scores, kind="stable")[: np.isfinite(scores).sum()]  # NaN comes last
    return order if end == HELPFUL else order[::-1]


def without_scores(scores: Mapping[str, xr.DataArray], size: int) -> dict[str, str]:
    """Why methods can name no group for any test example, a sentence by label: their scores are not finite.

    Args:
        scores: by label, `[test, left_out]`, of all training rows by themselves.
        size: of the smallest group.
    """
    finite = {label: np.isfinite(score.values).sum(-1) for label, score in scores.items()}
    reason = "its scores are not finite for {} of {} training rows at every test example."
    return {
        label: reason.format(scores[label].sizes["left_out"] - int(counts.max()), scores[label].sizes["left_out"])
        for label, counts in finite.items()
        if counts.max() < size
    }


def groups_of(removals: Iterable[Removal]) -> list[tuple[int, ...]]:
    """The different groups of rows, each once: methods may name the same."""
    return list(dict.fromkeys(removal.rows for removal in removals))


def named_groups(removals: Iterable[Removal]) -> dict[str, list[int]]:
    """The same groups by name, to be left out of further training."""
    return {f"removal {place}": list(group) for place, group in enumerate(groups_of(removals))}


def predictions(scores: Mapping[str, xr.DataArray], groups: Sequence[Sequence[int]]) -> xr.DataArray:
    """What each method predicts of each group: the sum of its rows' scores; NaN where one of them has none.

    Args:
        scores: by label, `[test, left_out]`, of all training rows by themselves.
        groups: positions of their rows.

    Returns:
        `[method, test, left_out]`, the last axis over groups, in units of the measurement.
    """
    first = next(iter(scores.values()))
    sums = [[score.values[:, list(group)].sum(-1) for group in groups] for score in scores.values()]
    coordinates = {"method": list(scores), "test": first["test"].values, "left_out": range(len(groups))}
    return xr.DataArray(np.swapaxes(np.array(sums), 1, 2), coordinates, list(coordinates))


def measurements(seeds: Sequence[xr.Dataset]) -> tuple[xr.DataArray, xr.DataArray]:
    """The effect of leaving each group out after the last step: mean over seeds, and its standard error.

    Args:
        seeds: losses of each seed (see `fimo.effect`); runs that diverged are left out.

    Returns:
        Both `[test, left_out]`; the error of one seed is NaN.
    """
    last = [losses.isel(step=-1).load() for losses in without_diverged(seeds)]
    effects = effect(xr.concat(last, "seed", join="exact"), "full")
    error = effects.std("seed", ddof=1) if len(last) > 1 else xr.full_like(effects.isel(seed=0), np.nan)
    return effects.mean("seed"), error / np.sqrt(len(last))


@dataclass(frozen=True)
class Verification:
    """Predicted beside measured.

    Attributes:
        table: a row for each method, test example and share: `method,test,share,rows,predicted,measured_mean,
            measured_sem,loss_full`, the error over seeds; of random rows the mean over their groups and its error over
            these. `loss_full` is what is measured after training on with all rows, mean over seeds.
        agreement: a row for each method: `right_sign`, the share of its own groups whose effect has the predicted
            sign; `correlation_mean`, `correlation_sem`, Spearman's over all groups that its scores say something of,
            mean over test examples; `groups`, how many at least; `tests`, over how many test examples.
        end: of the rankings whose rows left, `helpful` or `harmful`.
    """

    table: pd.DataFrame
    agreement: pd.DataFrame
    end: str = HELPFUL

    @property
    def best(self) -> str | None:
        """The method whose predictions agree best with what was measured; None where nothing was.

        It is the first method where none has a rank correlation.
        """
        if not self.table["measured_mean"].notna().any():
            return None
        return str(self.agreement["method"][self.agreement["correlation_mean"].fillna(-2).argmax()])

    def shares(self) -> pd.DataFrame:
        """Mean effect over test examples and its standard error, for each method and share, random rows among them.

        All test examples have the same random groups, so the error of these is that over the groups, not over examples.
        """
        grouped = self.table.groupby(["method", "share"], sort=False)
        means = grouped[["predicted", "measured_mean"]].mean()
        over_groups = means.index.get_level_values("method") == RANDOM_ROWS
        errors = grouped["measured_mean"].sem().where(~over_groups, grouped["measured_sem"].mean())
        return means.assign(measured_sem=errors, rows=grouped["rows"].first()).reset_index()


def verification(
    scores: Mapping[str, xr.DataArray], removed: Sequence[Removal], seeds: Sequence[xr.Dataset], end: str = HELPFUL
) -> Verification:
    """Hold what rankings predict against further training without the rows that they name.

    Args:
        scores: by label, `[test, left_out]`, of all training rows by themselves.
        removed: see `removals`.
        seeds: losses of each seed with `groups_of(removed)` left out.
        end: of the rankings, as `removals` had it.

    Returns:
        The tables.
    """
    groups = groups_of(removed)
    predicted, (mean, sem) = predictions(scores, groups), measurements(seeds)
    predicted = predicted.sel(left_out=mean["left_out"])  # a run that diverged has no effect
    present = {group: place for place, group in enumerate(groups) if place in mean["left_out"].values}
    rows = []
    for removal in (removal for removal in removed if removal.method != RANDOM_ROWS and removal.rows in present):
        place = {"test": removal.test, "left_out": present[removal.rows]}
        guess = predicted.sel({"method": removal.method, **place})  # `method` is a keyword of xarray's
        rows.append(_row(removal, removal.test, float(guess), float(mean.sel(place)), float(sem.sel(place))))
    rows += _random_rows([removal for removal in removed if removal.method == RANDOM_ROWS], present, mean)
    table = pd.DataFrame(rows, columns=[*KEYS, "predicted", "measured_mean", "measured_sem"])
    full = xr.concat([losses["loss_full"].isel(step=-1) for losses in without_diverged(seeds)], "seed").mean("seed")
    table = table.assign(loss_full=table["test"].map(full.to_series()))
    return Verification(table, _agreement(table, predicted, mean), end)


def _row(removal: Removal, test: int | None, predicted: float, mean: float, sem: float) -> tuple:
    return removal.method, test, removal.share, len(removal.rows), predicted, mean, sem


def _random_rows(removed: Sequence[Removal], present: Mapping[tuple, int], mean: xr.DataArray) -> list[tuple]:
    """A row for each test example and share, over all random groups of this size."""
    by_share: dict[float, list[Removal]] = {}
    for removal in removed:
        by_share.setdefault(removal.share, []).append(removal)
    rows = []
    for same in by_share.values():
        effects = mean.sel(left_out=[present[removal.rows] for removal in same if removal.rows in present])
        errors = effects.std("left_out", ddof=1) / np.sqrt(effects.sizes["left_out"])
        for test in mean["test"].values.tolist():
            values = float(effects.sel(test=test).mean()), float(errors.sel(test=test))
            rows.append(_row(same[0], test, np.nan, *values))
    return rows


def _agreement(table: pd.DataFrame, predicted: xr.DataArray, mean: xr.DataArray) -> pd.DataFrame:
    lines = []
    for label in predicted["method"].values.tolist():
        own = table[table["method"] == label]
        own = own[own["measured_mean"].notna() & (own["measured_mean"] != 0)]  # an effect of exactly 0 has no sign
        right = np.sign(own["predicted"]) == np.sign(own["measured_mean"])
        pairs = zip(predicted.sel({"method": label}).values, mean.values, strict=True)
        known = [(guess[has], effects[has]) for guess, effects in pairs if (has := np.isfinite(guess)).sum() > 1]
        correlations = pd.Series([float(spearman(*pair)) for pair in known], dtype=float)
        counts = correlations.count(), min((len(guess) for guess, _ in known), default=0)
        lines.append((label, right.mean(), correlations.mean(), correlations.sem(), *counts[::-1]))
    columns = ["method", "right_sign", "correlation_mean", "correlation_sem", "groups", "tests"]
    return pd.DataFrame(lines, columns=columns)
