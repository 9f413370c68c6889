"""Which training rows have wrong labels: how well an order of the rows finds those that do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata


def detection_table(suspicion: Mapping[tuple[str, str], ArrayLike], wrong: ArrayLike) -> pd.DataFrame:
    """A row for each detector.

    Args:
        suspicion: by what gives it and how, `("CG", "self-influence")`: a number for each row, `[row]`, larger where
            the label is more likely wrong.
        wrong: whose labels are, `[row]`, true or false.

    Returns:
        `detector`, `by`, `auc`, `precision`, `found`, `wrong`: the last two are counts among the first so many rows as
        labels are wrong.
    """
    flags = np.asarray(wrong, dtype=bool)
    count = int(flags.sum())
    rows = []
    for (detector, by), values in suspicion.items():
        numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=-np.inf)
        hits = expected_found(numbers, flags, count)
        rows.append((detector, by, auc(numbers, flags), hits / count, hits, count))
    return pd.DataFrame(rows, columns=["detector", "by", "auc", "precision", "found", "wrong"])


def auc(values: np.ndarray, wrong: np.ndarray) -> float:
    """The share of pairs of a row with a wrong label and one without in which the first has the larger number.

    Args:
        values: `[row]`; of equal ones half a pair counts.
        wrong: `[row]`.

    Returns:
        Between 0 and 1; NaN where all labels are wrong, or none.
    """
    positive, negative = int(wrong.sum()), int((~wrong).sum())
    if not positive or not negative:
        return float("nan")
    return float((rankdata(values)[wrong].sum() - positive * (positive + 1) / 2) / (positive * negative))


def expected_found(values: np.ndarray, wrong: np.ndarray, count: int) -> float:
    """How many rows with wrong labels are among the `count` with the largest numbers; equal ones in random order.

    Args:
        values: `[row]`.
        wrong: `[row]`.
        count: of rows that are looked at.
    """
    edge = np.sort(values)[-count]
    above, at = values > edge, values == edge
    return float((wrong & above).sum() + (wrong & at).sum() * (count - above.sum()) / at.sum())
