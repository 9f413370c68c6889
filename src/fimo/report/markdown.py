"""table.md: a row for each method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median_low
from typing import Any

import pandas as pd

from fimo.comparison.tables import MEASURES, Comparison, best_place

# Of numbers with errors.
DECIMALS, MOST_DECIMALS = 3, 6
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NO_ROW = " | ".join(4 * "–")  # in place of `_at`'s cells


def markdown_table(comparison: Comparison, methods: Mapping[str, Mapping[str, Any]], notes: Sequence[str] = ()) -> str:
    """Agreement of each method at its best and at the last step, centred, with standard errors.

    Args:
        comparison: the curves.
        methods: what is known of each method's scores, by label: `damping`, `seconds`, `notes`. Methods without curves
            have an empty row; a note says why.
        notes: sentences under the table.

    Returns:
        The table in Markdown.
    """
    centred = comparison.curves.query("adjustment == 'centred'")
    curves = [(str(label), curve) for label, curve in centred.groupby("method", sort=False)]
    rows = {label: (curve.iloc[best_place(curve)], curve.iloc[-1]) for label, curve in curves}
    decimals = decimals_for(row[f"{name}_sem"] for pair in rows.values() for row in pair for name in MEASURES)
    lines = [
        "| method | best epoch | cosine | Pearson | Spearman | last epoch | cosine | Pearson | Spearman | damping "
        "| seconds |",
        f"|---{10 * '|--:'}|",
    ]
    for label in [*methods, *(label for label in rows if label not in methods)]:
        cells = [_at(row, decimals) for row in rows[label]] if label in rows else [NO_ROW, NO_ROW]
        facts = methods.get(label, {})
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
    if not counts.max():
        lines += ["", "No test example has effects that differ: further training changed nothing, or diverged."]
    sentences = [f"{label}: {note}." for label, facts in methods.items() for note in facts.get("notes", [])]
    return "\n".join([*lines, *(f"\n{note}" for note in [*sentences, *notes])]) + "\n"


def decimals_for(errors: Iterable[float]) -> int:
    """Decimals that a column shares: three, or as many as half of its errors need to be seen, at most six."""
    typical = median_low([error for error in errors if error > 0] or [1.0])
    return min(MOST_DECIMALS, max(DECIMALS, -math.floor(math.log10(typical))))


def with_error(value: float, error: float, decimals: int = DECIMALS) -> str:
    """A number with its standard error, `0.512 ± 0.013`; without one, the number alone; – for NaN.

    Args:
        value: the number.
        error: its standard error, in the same unit; NaN for none.
        decimals: of both, see `decimals_for`.

    Returns:
        The text.
    """
    if pd.isna(value):
        return "–"
    value = round(value, decimals) + 0.0  # no "-0.000"
    return f"{value:.{decimals}f}" + ("" if pd.isna(error) else f" ± {error:.{decimals}f}")


def small_with_error(value: float, error: float) -> str:
    """A small number with its standard error in a power of ten of its own, `(4.09 ± 0.06) × 10⁻⁵`; – for NaN.

    Args:
        value: the number, not 0.
        error: its standard error, in the same unit; NaN for none.

    Returns:
        The text, with the decimals that two digits of the error need.
    """
    largest = max(abs(value), error if error > 0 else 0.0)
    if pd.isna(value) or not largest:
        return with_error(value, error)
    power = math.floor(math.log10(largest))
    scaled, own = value / 10**power, error / 10**power
    decimals = min(MOST_DECIMALS, 1 - math.floor(math.log10(own))) if own > 0 else 2
    text = with_error(scaled, own, decimals)
    return f"{f'({text})' if '±' in text else text} × 10{str(power).translate(SUPERSCRIPTS)}"


def _at(row: pd.Series, decimals: int) -> str:
    numbers = [with_error(row[f"{name}_mean"], row[f"{name}_sem"], decimals) for name in MEASURES]
    return " | ".join([f"{row['epoch']:g}", *numbers])
