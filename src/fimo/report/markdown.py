"""table.md: a row for each method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fimo.compare.tables import Comparison, best_place


def markdown_table(comparison: Comparison, methods: Mapping[str, Mapping[str, Any]], notes: Sequence[str] = ()) -> str:
    """Agreement of each method at its best and at the last step, centred, with standard errors.

    Args:
        comparison: the curves.
        methods: what is known of each method's scores, by label: `damping`, `seconds`, `notes`.
        notes: sentences under the table.
    """
    centred = comparison.curves.query("adjustment == 'centred'")
    lines = [
        "| method | best epoch | cosine | Pearson | Spearman | last epoch | cosine | Pearson | Spearman | damping "
        "| seconds |",
        f"|---{10 * '|--:'}|",
    ]
    for label, curve in centred.groupby("method", sort=False):
        cells = [_at(curve.iloc[best_place(curve)]), _at(curve.iloc[-1])]
        facts = methods.get(str(label), {})
        seconds = f"{facts['seconds']:.2f}" if "seconds" in facts else "–"
        lines.append(f"| {label} | {' | '.join(cells)} | {facts.get('damping', '–')} | {seconds} |")
    last = comparison.reliability.query("adjustment == 'centred'").iloc[-1]
    if pd.notna(last["ceiling"]):
        lines += ["", f"Reliability ceiling at the last step: {last['ceiling']:.3f}."]
    counts = centred.groupby("method", sort=False)["n_test"].last()
    fewer = ", ".join(f"{label}: {count}" for label, count in counts.items() if count < counts.max())
    n_seeds = centred["n_seeds"].iloc[0]
    seeds = f"{n_seeds} seeds" if n_seeds > 1 else "one seed"
    lines += [
        "",
        f"Centred (eq. 13 and 17), mean ± standard error over {counts.max()} test examples"
        f"{f' ({fewer})' if fewer else ''}; the gold standard is the mean over {seeds}.",
    ]
    sentences = [f"{label}: {note}." for label, facts in methods.items() for note in facts.get("notes", [])]
    return "\n".join([*lines, *(f"\n{note}" for note in [*sentences, *notes])]) + "\n"


def with_error(value: float, error: float) -> str:
    """`0.512 ± 0.013`: three decimals, and more where the error is too small for them to show it."""
    decimals = min(9, 1 - math.floor(math.log10(error))) if 0 < error < 5e-4 else 3
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _at(row: pd.Series) -> str:
    cells = [f"{row['epoch']:g}"]
    for name in ("cosine", "pearson", "spearman"):
        mean, error = row[f"{name}_mean"], row[f"{name}_sem"]
        cells.append("–" if pd.isna(mean) else f"{mean:.3f}" if pd.isna(error) else with_error(mean, error))
    return " | ".join(cells)
