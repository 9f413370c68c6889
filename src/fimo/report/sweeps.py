"""The jobs of a sweep in one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fimo.compare.sweeps import Job, sweep_table
from fimo.compare.tables import MOMENTS
from fimo.report.figures import STYLE, draw_line, set_limits, set_scale

COLUMNS = 3
# So few swept values are all named on the axis.
TICKS = 8


@dataclass(frozen=True)
class Panel:
    """What one panel of the figure shows: rows of `method`, `x`, `mean`, `sem`."""

    title: str
    xlabel: str
    lines: pd.DataFrame


@matplotlib.rc_context(STYLE)
def sweep_figure(jobs: Sequence[Job], title: str, adjustment: str = "centred") -> Figure:
    """Cosines against the swept number, at the first, the best and the last step; or curves, a panel for each job.

    The numeric key with most values is the horizontal axis; every combination of the others has panels of its own.
    """
    panels = _against_a_number(jobs, adjustment) or list(_curves(jobs, adjustment))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns + 1.4, 2.9 * rows + 0.6), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"cosine similarity ({adjustment})")
    set_limits(*grid.flat)
    named = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside right center")
    return figure


def _against_a_number(jobs: Sequence[Job], adjustment: str) -> list[Panel]:
    """Panels with the swept number as the horizontal axis; none where nothing that is a number was swept."""
    table = sweep_table(jobs, adjustment)
    keys = list(dict.fromkeys(key for job in jobs for key in job.swept if key != "method"))
    numbers = {key: pd.to_numeric(table[key], errors="coerce") for key in keys}
    counts = {key: values.nunique() for key, values in numbers.items() if values.notna().all() and values.nunique() > 1}
    if not counts:
        return []
    axis = max(counts, key=lambda key: counts[key])
    others = [key for key in keys if key != axis]
    table = table.assign(x=numbers[axis], method=_bases(table, keys))
    panels = []
    for chosen, part in table.groupby(others, sort=False, dropna=False) if others else [((), table)]:
        rest = ", ".join(f"{key}={value}" for key, value in zip(others, chosen, strict=True) if pd.notna(value))
        for moment in MOMENTS:
            lines = part.rename(columns={f"{moment} cosine_mean": "mean", f"{moment} cosine_sem": "sem"})
            panels.append(Panel(", ".join(filter(None, [rest, f"{moment} step"])), axis, lines.sort_values("x")))
    return panels


def _bases(table: pd.DataFrame, keys: list[str]) -> pd.Series:
    """Labels without the brackets that tell a variant, unless one job has two variants of a method."""
    bases = table["method"].str.partition(" (")[0]
    return table["method"] if table[keys].assign(base=bases).duplicated().any() else bases


def _curves(jobs: Sequence[Job], adjustment: str) -> Iterator[Panel]:
    """A panel for each job: its curves against the amount of further training."""
    for job in jobs:
        title = ", ".join(f"{key}={value}" for key, value in job.swept.items())
        curves = job.curves.query("adjustment == @adjustment")
        lines = curves.rename(columns={"epoch": "x", "cosine_mean": "mean", "cosine_sem": "sem"})
        yield Panel(title, "epochs of further training", lines)


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(textwrap.fill(panel.title, 46), loc="left", fontsize=9)
    axes.set_xlabel(panel.xlabel)
    lines = list(panel.lines.groupby("method", sort=False))
    for number, (label, line) in enumerate(lines):
        every = 1 if len(line) <= 12 else (0.02 + 0.013 * number, 0.15)  # of a curve, not at the same places
        size = 4 + 4 * (1 - (number + 1) / len(lines))  # what coincides stays visible beneath the next
        draw_line(axes, str(label), line["x"], line["mean"], line["sem"], every, size)
    set_scale(axes, panel.lines["x"])
    if len(values := panel.lines["x"].unique()) <= TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values], minor=False)
        axes.set_xticks([], minor=True)
