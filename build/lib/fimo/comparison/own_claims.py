"""Two claims of ours, not the paper's, on methods that know how much further training there is.

Unlike the paper's they are about every evaluated amount. Seeds and the reliability ceiling are taken as they are:
standard errors are over test examples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.agreement import Mean
from fimo.comparison.area import agreements, area, ceiling_at, centred_gold
from fimo.comparison.claims import FAMILIES, SECOND_SEED, base_of
from fimo.comparison.verdicts import claim_row, ends, not_significantly_negative, significantly_positive, unmeasured_row
from fimo.effect import without_diverged

UNROLLED, MOVED = "Unrolled-GN", "Unrolled-GN (moved)"
PAPERS = tuple(label for family in FAMILIES.values() for label in family)
REACHED = 0.95

KEEPS_UP = "Unrolled-GN keeps up with the paper's best method at every amount (ours)"
KEEPS_UP_WORDS = (
    f"cosine of {UNROLLED} minus that of the best of the paper's eight methods (of those that were run), at the amount "
    "of further training where it falls short by most, given its error; error over test examples, paired; holds where "
    "this is no more than two standard errors below zero, and so at every evaluated amount"
)
NEAR_CEILING = f"{MOVED} reaches {100 * REACHED:.0f} % of the ceiling (ours)"
NEAR_CEILING_WORDS = (
    f"area under the curve of {MOVED}, the mean over the logarithm of the amount, as a share of that under the "
    f"reliability ceiling, minus {REACHED} (a bound of our choice); error over test examples"
)
OWN_CLAIMS = (KEEPS_UP, NEAR_CEILING)


def own_claims(
    scores: Mapping[str, xr.DataArray], seeds: Sequence[xr.Dataset], reliability: pd.DataFrame
) -> pd.DataFrame:
    """A row for each of our claims.

    Args:
        scores: by label, as in `fimo.comparison.claims.claims`; `UNROLLED` and `MOVED` are looked for by their whole
            label, the paper's methods with their variants.
        seeds: the losses of each seed (see `fimo.effect`).
        reliability: as in `fimo.comparison.tables.Comparison`.

    Returns:
        The columns of `fimo.comparison.claims.claims`.
    """
    seeds = without_diverged(seeds)
    counts = seeds[0].sizes["test"], len(seeds)
    gold = cache(lambda: centred_gold(seeds))  # all files are read for it: where a claim needs it, and once
    return pd.DataFrame([_keeps_up(scores, gold, counts), _near_ceiling(scores, gold, reliability, counts)])


def _keeps_up(scores: Mapping[str, xr.DataArray], gold: Callable[[], xr.DataArray], counts: tuple[int, int]) -> dict:
    """The row of `KEEPS_UP`: at each amount the best other method, and the amount where least speaks for ours."""
    base = {label: base_of(label) for label in scores}
    rivals = [label for label in scores if base[label] in PAPERS]
    missing = [] if UNROLLED in scores else [UNROLLED]
    missing += [family for family, labels in FAMILIES.items() if not set(labels) & set(base.values())]
    if missing:
        return unmeasured_row(KEEPS_UP, KEEPS_UP_WORDS, missing, counts)
    own = agreements(scores[UNROLLED], gold())
    paired = Mean.of(np.stack([(own - agreements(scores[label], gold())).values for label in rivals], 1))
    if np.isnan(paired.mean).all():
        return unmeasured_row(KEEPS_UP, KEEPS_UP_WORDS, ["cosine"], counts)
    every, best = np.arange(len(own)), np.where(np.isnan(paired.mean), np.inf, paired.mean).argmin(1)
    differences, errors = paired.mean[every, best], paired.sem[every, best]
    upper = np.where(np.isnan(differences), np.inf, differences + 2 * np.nan_to_num(errors))
    worst = int(upper.argmin())
    number = float(differences[worst]), float(errors[worst])
    note = f"least at epoch {own['epoch'].values[worst]:g}, against {rivals[best[worst]]}"
    absent = [label for label in PAPERS if label not in base.values()]
    note += f"; not run: {', '.join(absent)}" if absent else ""
    counts = int(paired.count[worst, best[worst]]), counts[1]
    return claim_row(KEEPS_UP, KEEPS_UP_WORDS, number, not_significantly_negative(*ends(*number)), note, counts)


def _near_ceiling(
    scores: Mapping[str, xr.DataArray],
    gold: Callable[[], xr.DataArray],
    reliability: pd.DataFrame,
    counts: tuple[int, int],
) -> dict:
    """The row of `NEAR_CEILING`."""
    missing = [what for what, present in ((MOVED, MOVED in scores), (SECOND_SEED, counts[1] > 1)) if not present]
    if missing:
        return unmeasured_row(NEAR_CEILING, NEAR_CEILING_WORDS, missing, counts)
    top = float(area(ceiling_at(reliability, gold())))
    if not top > 0:
        return unmeasured_row(NEAR_CEILING, NEAR_CEILING_WORDS, ["agreement between seeds"], counts)
    share = Mean.of((area(agreements(scores[MOVED], gold())) / top).values)
    if np.isnan(share.mean):
        return unmeasured_row(NEAR_CEILING, NEAR_CEILING_WORDS, ["cosine"], counts)
    number = float(share.mean) - REACHED, float(share.sem)
    counts, note = (int(share.count), counts[1]), f"a share of {share.mean:.3f}"
    return claim_row(NEAR_CEILING, NEAR_CEILING_WORDS, number, significantly_positive(*ends(*number)), note, counts)
