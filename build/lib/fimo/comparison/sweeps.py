"""The jobs of a sweep in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fimo.comparison.tables import at_moments


@dataclass(frozen=True)
class Job:
    """One results folder of a sweep.

    Attributes:
        swept: what the sweep varies, and its value in this job, by key.
        curves: its curves.csv.
    """

    swept: Mapping[str, str]
    curves: pd.DataFrame


def sweep_table(jobs: Sequence[Job], adjustment: str = "centred") -> pd.DataFrame:
    """A row for each job and method, by the swept values, with cosines at the first, the best and the last step.

    Args:
        jobs: of the sweep.
        adjustment: one of `fimo.effect.ADJUSTMENTS`.

    Returns:
        The swept keys, `method`, `seeds`, and the columns of `fimo.comparison.tables.at_moments`.
    """
    rows = []
    for job in jobs:
        chosen = job.curves.query("adjustment == @adjustment")
        for label, curve in chosen.groupby("method", sort=False):
            rows.append({**job.swept, "method": label, "seeds": curve["n_seeds"].iloc[0], **at_moments(curve)})
    table = pd.DataFrame(rows)
    keys = list(dict.fromkeys(key for job in jobs for key in job.swept))
    table = table[[*keys, *(column for column in table if column not in keys)]]
    return table.sort_values(keys, key=_rank, kind="stable", ignore_index=True)


def _rank(values: pd.Series) -> pd.Series:
    """Numbers where all are, else places in the order of appearance."""
    numbers = pd.to_numeric(values, errors="coerce")
    return (
        numbers if numbers.notna().equals(values.notna()) else pd.Series(pd.factorize(values, use_na_sentinel=False)[0])
    )
