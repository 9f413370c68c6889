"""The data of a ranking's page on labels that were made wrong: how well they are found, and the rows suspected most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fimo.comparison.detection import MARGIN, RANDOM_ORDER, Detection

if TYPE_CHECKING:
    from fimo.report.page.examples import PageExamples

# A chart ends where so many times as many rows were looked at as labels are wrong; points of a line.
TIMES, POINTS = 5, 120


def wrong_labels_payload(
    detection: Detection, methods: Sequence[str], examples: PageExamples, end: int
) -> dict[str, Any]:
    """How many wrong labels are among the first rows of each detector's order, and which rows these are.

    Args:
        detection: the detectors.
        methods: all labels, in their order.
        examples: gets the training rows.
        end: half as many rows of each order are described.

    Returns:
        `wrong` and `count`, of labels and of training rows; `looked`, numbers of rows; `detectors`, the highest AUC
        first, each with `method` (its place; None for what is no method), `by`, `auc`, `precision`, `hits` at the
        first `wrong` rows, `curve` over `looked`, and `rows` and `values` of its head (none of a random order).
    """
    most = min(len(detection.rows), max(TIMES * detection.count, 20))
    looked = np.unique(np.append(np.linspace(0, most, POINTS).round(), detection.count)).astype(int)
    table = detection.table.sort_values(["auc", "precision"], ascending=False, kind="stable")
    detectors = []
    for row in table.itertuples():
        key = str(row.detector), str(row.by)
        head = detection.head(key, 0 if row.by == RANDOM_ORDER else 2 * end)
        sign = -1 if row.by == MARGIN else 1  # a small margin is suspect
        detectors.append(
            {
                "method": methods.index(key[0]) if key[0] in methods else None,
                "by": key[1],
                "auc": None if np.isnan(row.auc) else row.auc,
                "precision": row.precision,
                "hits": row.found,
                "curve": detection.hits(key, looked).round(3).tolist(),
                "rows": examples.add("train", detection.rows[head]),
                "values": (sign * detection.suspicion[key][head]).astype(float).tolist(),
            }
        )
    return {
        "wrong": detection.count,
        "count": len(detection.rows),
        "looked": looked.tolist(),
        "detectors": detectors,
    }
