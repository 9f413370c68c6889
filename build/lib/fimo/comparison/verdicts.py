"""The row of a claim in claims.csv: its number, the number's standard error, and what follows from both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# How far from zero a number is by rounding alone.
ROUNDING = 1e-9


def significantly_positive(low: float, high: float) -> str:
    """The verdict where a number has to be above zero, from its ends two standard errors away.

    Args:
        low: two standard errors below the number.
        high: two standard errors above it.

    Returns:
        `holds`, `does not hold` or `not decided`.
    """
    return "holds" if low > ROUNDING else "does not hold" if high < -ROUNDING else "not decided"


def not_significantly_negative(low: float, high: float) -> str:
    """The verdict where a number has to be within its error of zero, or above; without an error nothing is decided.

    Args:
        low: two standard errors below the number.
        high: two standard errors above it.

    Returns:
        `holds`, `does not hold` or `not decided`.
    """
    return "not decided" if np.isnan(high) else "holds" if high >= -ROUNDING else "does not hold"


def claim_row(
    name: str, words: str, number: tuple[float, float], verdict: str, note: str, counts: tuple[int, int]
) -> dict:
    """One row.

    Args:
        name: of the claim.
        words: what its statistic is.
        number: the statistic and its standard error.
        verdict: see `significantly_positive` and `not_significantly_negative`.
        note: what the error is of, or why there is no number.
        counts: test examples and seeds.

    Returns:
        The columns of claims.csv.
    """
    low, high = ends(*number)
    row = {"claim": name, "statistic": words, "estimate": number[0], "standard_error": number[1]}
    row |= {"low": low, "high": high, "verdict": verdict, "note": note}
    return row | {"n_test": counts[0], "n_seeds": counts[1]}


def unmeasured_row(name: str, words: str, missing: Sequence[str], counts: tuple[int, int]) -> dict:
    """The row of a claim for which something is missing.

    Args:
        name: of the claim.
        words: what its statistic is.
        missing: what it lacks.
        counts: test examples and seeds.

    Returns:
        The columns of claims.csv.
    """
    return claim_row(name, words, (np.nan, np.nan), "not measured", f"no {' and no '.join(missing)}", counts)


def ends(estimate: float, error: float) -> tuple[float, float]:
    """Two standard errors below and above.

    Args:
        estimate: the number.
        error: its standard error.

    Returns:
        The lower and the upper end.
    """
    return estimate - 2 * error, estimate + 2 * error
