"""The data of a ranking's page: the ends of each ranking, and the rows with the largest self-influence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fimo.comparison.detection import orders_rows

if TYPE_CHECKING:
    from fimo.report.page.examples import PageExamples
    from fimo.report.page.page import Page

# Rows with the largest self-influence that can be looked at; steps of a method.
TOP, MOST_STEPS = 20, 3


def ranking_payload(page: Page, methods: Sequence[str], examples: PageExamples, end: int) -> dict[str, Any]:
    """For each method, step and test example its rows with scores above zero, and below, the largest sizes first.

    Args:
        page: what is shown.
        methods: all labels, in their order.
        examples: gets the test examples and the training rows.
        end: rows at each end.

    Returns:
        `tests`, places of the test examples; `entries`, by method a list of `{step, epoch, helpful, harmful}`, where
        both ends are a list of `[places of training rows, scores]` for each test example.
    """
    ranking = page.ranking
    assert ranking is not None
    tests = ranking["test"].unique()
    by_method = dict(list(ranking.groupby("method", sort=False)))
    entries = [
        _of_method(page, by_method[label], tests, examples, end) if label in by_method else [] for label in methods
    ]
    return {"tests": examples.add("test", tests), "entries": entries}


def _of_method(
    page: Page, rows: pd.DataFrame, tests: np.ndarray, examples: PageExamples, end: int
) -> list[dict[str, Any]]:
    entries = []
    for step, at_step in _steps(rows):
        by_test = dict(list(at_step.groupby("test")))
        ends = [_ends(by_test[test], examples, end) if test in by_test else ([[], []], [[], []]) for test in tests]
        epoch = None if step is None else (page.epochs or {}).get(step)
        helpful, harmful = zip(*ends, strict=True)
        entries.append({"step": step, "epoch": epoch, "helpful": list(helpful), "harmful": list(harmful)})
    return entries


def _ends(rows: pd.DataFrame, examples: PageExamples, count: int) -> tuple[list[list], list[list]]:
    order = rows.dropna(subset="score").drop_duplicates("train").sort_values("score", ascending=False, kind="stable")
    ends = order[order["score"] > 0].head(count), order[order["score"] < 0].iloc[::-1].head(count)
    helpful, harmful = ([examples.add("train", end["train"].to_numpy()), end["score"].tolist()] for end in ends)
    return helpful, harmful


def self_influence_payload(page: Page, methods: Sequence[str], examples: PageExamples) -> list[dict[str, Any] | None]:
    """For each method, at its last step, the rows with the largest self-influence, and its value at all rows shown.

    Args:
        page: what is shown.
        methods: all labels, in their order.
        examples: gets the training rows.

    Returns:
        By method `top`, places of the training rows, the largest first; `values`, by place, of the rows that the page
        has (None where there is none); `count`, of all training rows. None for a method without self-influence, or with
        the same for all rows.
    """
    table = page.self_influence
    assert table is not None
    last = {label: _steps(rows)[-1][1].set_index("train")["score"] for label, rows in table.groupby("method")}
    last = {label: values for label, values in last.items() if orders_rows(values)}
    tops = {label: values.nlargest(TOP).index.to_numpy() for label, values in last.items()}
    places = {label: examples.add("train", top) for label, top in tops.items()}
    rows = list(examples.places["train"])
    values = {
        label: [None if np.isnan(value) else float(value) for value in values.reindex(rows)]
        for label, values in last.items()
    }
    return [
        {"top": places[label], "values": values[label], "count": len(last[label])} if label in last else None
        for label in methods
    ]


def _steps(rows: pd.DataFrame) -> list[tuple[int | None, pd.DataFrame]]:
    """The rows of one method, step by step where it has steps: the first, the middle and the last."""
    steps = np.sort(rows["step"].dropna().unique())
    if not len(steps):
        return [(None, rows)]
    places = np.unique(np.linspace(0, len(steps) - 1, min(MOST_STEPS, len(steps))).round().astype(int))
    return [(int(steps[place]), rows[rows["step"] == steps[place]]) for place in places]
