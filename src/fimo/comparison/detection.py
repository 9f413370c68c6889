"""Which training rows have wrong labels: how well an order of the rows finds those that do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

# What orders rows, and what a row's own numbers are called where a method's label stands otherwise.
SELF_INFLUENCE, MEAN_HARM, LOSS, MARGIN, RANDOM_ORDER = "self-influence", "mean harm", "loss", "margin", "random order"
THE_ROW, NOBODY = "the row itself", "–"
# Below this share of the largest value differences are rounding: Grad-Cos gives all rows the same self-influence.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Detection:
    """Orders of the training rows, and which of the rows have wrong labels.

    Attributes:
        rows: positions of the training rows, `[row]`.
        wrong: whose labels are wrong, `[row]`, true or false.
        suspicion: by what gives it and how, `("CG", "self-influence")`: a number for each row, `[row]`, larger where
            the label is more likely wrong.
    """

    rows: np.ndarray
    wrong: np.ndarray
    suspicion: Mapping[tuple[str, str], np.ndarray]

    @cached_property
    def table(self) -> pd.DataFrame:
        """See `detection_table`."""
        return detection_table(self.suspicion, self.wrong)

    @property
    def count(self) -> int:
        """How many labels are wrong."""
        return int(self.wrong.sum())

    def hits(self, detector: tuple[str, str], counts: ArrayLike) -> np.ndarray:
        """How many rows with wrong labels are among the first of an order.

        Args:
            detector: a key of `suspicion`.
            counts: of rows that are looked at, `[count]`.

        Returns:
            `[count]`; equal numbers stand in random order.
        """
        return expected_hits(self.suspicion[detector], self.wrong, counts)

    def head(self, detector: tuple[str, str], count: int) -> np.ndarray:
        """Places of the rows that are suspected most, `[place]`; rows without a number are none of them.

        Args:
            detector: a key of `suspicion`.
            count: of rows.
        """
        numbers = self.suspicion[detector]
        order = np.argsort(-np.nan_to_num(numbers, nan=-np.inf), kind="stable")[:count]
        return order[np.isfinite(numbers[order])]


def detection_table(suspicion: Mapping[tuple[str, str], ArrayLike], wrong: ArrayLike) -> pd.DataFrame:
    """A row for each detector.

    Args:
        suspicion: see `Detection`.
        wrong: see `Detection`.

    Returns:
        `detector`, `by`, `auc`, `precision`, `found`, `wrong`: the last two are counts among the first so many rows as
        labels are wrong.
    """
    flags = np.asarray(wrong, dtype=bool)
    count = int(flags.sum())
    rows = []
    for (detector, by), values in suspicion.items():
        hits = float(expected_hits(values, flags, count))
        rows.append((detector, by, auc(_numbers(values), flags), hits / count, hits, count))
    return pd.DataFrame(rows, columns=["detector", "by", "auc", "precision", "found", "wrong"])


def auc(values: np.ndarray, wrong: np.ndarray) -> float:
    """The share of pairs of a row with a wrong label and one without in which the first has the larger number.

    Args:
        values: `[row]`; of equal ones half a pair counts.
        wrong: `[row]`.

    Returns:
        Between 0 and 1; NaN where all labels are wrong, or none.
    """
    from scipy.stats import rankdata  # a second that other commands need not wait for

    positive, negative = int(wrong.sum()), int((~wrong).sum())
    if not positive or not negative:
        return float("nan")
    return float((rankdata(values)[wrong].sum() - positive * (positive + 1) / 2) / (positive * negative))


def expected_hits(values: ArrayLike, wrong: np.ndarray, counts: ArrayLike) -> np.ndarray:
    """How many rows with wrong labels are among the first of an order; equal numbers stand in random order.

    Between two groups of equal numbers the expected count is linear in the rows that are looked at.

    Args:
        values: `[row]`, the largest first; NaN stands last.
        wrong: `[row]`.
        counts: of rows that are looked at, any shape.

    Returns:
        Of the shape of `counts`.
    """
    _, group = np.unique(-_numbers(values), return_inverse=True)
    looked, hits = np.bincount(group).cumsum(), np.bincount(group, weights=wrong).cumsum()
    return np.interp(np.asarray(counts, dtype=np.float64), np.append(0, looked), np.append(0, hits))


def orders_rows(values: ArrayLike) -> bool:
    """Whether numbers of rows differ by more than rounding.

    Args:
        values: `[row]`.
    """
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return bool(len(numbers)) and bool(np.ptp(numbers) > ROUNDING * np.abs(numbers).max())


def _numbers(values: ArrayLike) -> np.ndarray:
    return np.nan_to_num(np.asarray(values, dtype=np.float64), nan=-np.inf)
