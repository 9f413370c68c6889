"""ranking.md: which training rows made a few predictions, and which rows matter most to the model, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.detection import orders_rows
from fimo.effect import last_step
from fimo.report.influential import Examples, described, quoted, rows_cell


def ranking_markdown(
    rankings: Mapping[str, xr.Dataset],
    examples: Examples,
    notes: Sequence[str] = (),
    tests: int = 3,
    count: int = 5,
    watched: str | None = None,
    predicted: Mapping[int, str] | None = None,
    losses: Mapping[int, float] | None = None,
) -> str:
    """A section for each of the first test examples: the ends of every method's ranking; then self-influence.

    Args:
        rankings: by label, see `fimo.ranking`; of several amounts of further training the last is shown.
        examples: of the run.
        notes: sentences under the tables.
        tests: how many test examples.
        count: how many training rows at each end.
        watched: what is measured at the test examples; None for their loss, which a row helps to lower.
        predicted: a sentence on what the model says of a test example, by its position.
        losses: of the training rows, by their positions.

    Returns:
        The text in Markdown.
    """
    last = {label: last_step(ranking) for label, ranking in rankings.items()}
    first = next(iter(last.values()))
    what = f"raises the {watched}" if watched else "raises the test loss, so that it helped"
    lines = [
        "# All training rows, ranked",
        "",
        f"All {first.sizes['train']:,} training rows. A positive score says that leaving the row out {what}. Nothing "
        "was trained for this; `verify` shows whether it is true for this model.",
    ]
    if (ranked := first.sizes["test"]) > tests:
        lines[-1] += f" Shown are the first {tests} of {ranked} test examples; ranking.csv and report.html have all."
    high, low = ("raise it most", "lower it most") if watched else ("most helpful", "most harmful")
    for test in first["test"].values[:tests]:
        lines += ["", f"## Test example {examples.label('test', int(test))}", ""]
        paragraphs = [*quoted(examples.describe("test", int(test))), (predicted or {}).get(int(test))]
        lines += [line for paragraph in paragraphs if paragraph for line in (paragraph, "")]
        lines += [f"| by | {high} (training row: score) | {low} |", "|---|---|---|"]
        rows: dict[int, None] = {}
        for label, ranking in last.items():
            pairs = _pairs(ranking.sel(test=test))
            ends = _of_sign(pairs, 1)[:count], _of_sign(pairs[::-1], -1)[:count]
            lines.append(f"| {label} | {rows_cell(ends[0], examples)} | {rows_cell(ends[1], examples)} |")
            rows |= dict.fromkeys(row for end in ends for row, _ in end)
        lines += described(rows, examples)
    lines += _self_influence(last, losses or {}, examples, count)
    return "\n".join([*lines, *(f"\n{note}" for note in notes)]) + "\n"


def _self_influence(
    rankings: Mapping[str, xr.Dataset], losses: Mapping[int, float], examples: Examples, count: int
) -> list[str]:
    """The rows that matter most to themselves, beside those of the largest loss."""
    own: dict[str, Mapping[int, float]] = {}
    for label, ranking in rankings.items():
        scores = ranking["self_influence"].values if "self_influence" in ranking else np.zeros(1)
        if orders_rows(scores):  # Grad-Cos gives all rows the same
            own[label] = dict(zip(ranking["train"].values.tolist(), scores.tolist(), strict=True))
    if not own:
        return []
    lines = ["", "## Rows that matter most to their own loss (self-influence)", ""]
    lines.append(
        "Wrong labels are often among them: the model has learnt them by heart, from themselves alone. Those that it "
        "has not learnt are among the rows of the largest loss."
    )
    lines += ["", "| by | training row: score |", "|---|---|"]
    for label, values in {**own, **({"the row's own loss": losses} if losses else {})}.items():
        pairs = sorted(values.items(), key=lambda pair: -pair[1])[:count]
        lines.append(f"| {label} | {rows_cell(pairs, examples)} |")
    return lines


def detection_markdown(detected: pd.DataFrame) -> str:
    """How well each detector finds the labels that were made wrong.

    Args:
        detected: the columns of detection.csv.

    Returns:
        A section in Markdown.
    """
    lines = [
        "",
        "## Labels that were made wrong (data.flip)",
        "",
        f"{detected['wrong'].iloc[0]} labels are wrong. AUC: how often a row with a wrong label stands before one "
        "without. Precision: the share of wrong labels among as many rows from the top as there are wrong labels.",
        "",
        "| by | AUC | precision |",
        "|---|--:|--:|",
    ]
    rows = detected.sort_values("auc", ascending=False, kind="stable").itertuples()
    lines += [f"| {row.detector}, {row.by} | {row.auc:.3f} | {row.precision:.3f} |" for row in rows]
    return "\n".join(lines) + "\n"


def _pairs(ranking: xr.Dataset) -> list[tuple[int, float]]:
    """Rows and scores of one test example, from the highest to the lowest."""
    pairs = zip(ranking["row"].values.tolist(), ranking["score"].values.tolist(), strict=True)
    return [(row, score) for row, score in pairs if not np.isnan(score)]


def _of_sign(pairs: Sequence[tuple[int, float]], sign: int) -> list[tuple[int, float]]:
    """Rows whose score has this sign: one of zero neither helps nor harms."""
    return [(row, score) for row, score in pairs if sign * score > 0]
