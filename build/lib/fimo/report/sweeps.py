"""The jobs of a sweep in one figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fimo.comparison.sweeps import Job, sweep_table
from fimo.comparison.tables import MOMENTS
from fimo.labels import Label
from fimo.report.figures import STYLE, draw_line, set_limits, set_scale
from fimo.report.layout import legend_entries, set_legend, set_title, wrapped

LineStyle = Literal["-", "--", ":", "-."]
COLUMNS = 3
# So few swept values are all named on the axis.
TICKS = 8
# Inches, of a panel's title.
TITLE = 2.9
# Of the values of a second swept key, in one panel.
LINE_STYLES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Panel:
    """What one panel of the figure shows.

    Attributes:
        title: over it.
        xlabel: below it.
        lines: rows of `method`, `x`, `mean`, `sem`, and `other`, the values of the keys that are not the axis.
    """

    title: str
    xlabel: str
    lines: pd.DataFrame


@matplotlib.rc_context(STYLE)
def sweep_figure(jobs: Sequence[Job], title: str, adjustment: str = "centred") -> Figure:
    """Cosines against the swept number, at the first, the best and the last step; or curves, a panel for each job.

    The numeric key with most values is the horizontal axis. Values of the other keys are overlaid, each combination in
    a line style of its own; more of them than there are styles get rows of panels instead.

    Args:
        jobs: of the sweep.
        title: over the figure, any length.
        adjustment: one of `fimo.effect.ADJUSTMENTS`.

    Returns:
        The figure, three panels in a row.
    """
    panels = _against_a_number(jobs, adjustment) or list(_curves(jobs, adjustment))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.2 * columns + 0.6, 2.7 * rows + 1.1), layout="constrained")
    set_title(figure, title)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(f"cosine similarity ({adjustment})")
    drawn = list(grid.flat[: len(panels)])
    set_limits(*drawn)
    styles = {other: style for panel in panels for other, style in _styles(panel).items() if other}
    entries = legend_entries(*drawn)
    if styles:  # a method's own entry shows its colour and its marker, whatever its first line
        entries = {label: _solid(line) for label, line in entries.items()}
    entries |= {other: Line2D([], [], color="#555555", linestyle=style) for other, style in styles.items()}
    set_legend(figure, entries)
    return figure


def _solid(line: Artist) -> Line2D:
    assert isinstance(line, Line2D)
    return Line2D([], [], color=line.get_color(), marker=line.get_marker(), markersize=5)


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
    rows = table[others].to_dict("records") if others else [{}] * len(table)
    combinations = [", ".join(f"{key}={value}" for key, value in row.items() if pd.notna(value)) for row in rows]
    table = table.assign(x=numbers[axis], method=_bases(table, keys), other=combinations)
    overlaid = table["other"].nunique() <= len(LINE_STYLES)
    parts = [("", table)] if overlaid else [(str(other), part) for other, part in table.groupby("other", sort=False)]
    panels = []
    for other, part in parts:
        for moment in MOMENTS:
            lines = part.rename(columns={f"{moment} cosine_mean": "mean", f"{moment} cosine_sem": "sem"})
            lines = lines if overlaid else lines.assign(other="")
            title = ", ".join(filter(None, [other, f"{moment} step"]))
            panels.append(Panel(title, axis, lines.sort_values("x", kind="stable")))
    return panels


def _styles(panel: Panel) -> dict[str, LineStyle]:
    """Line styles of the combinations of other keys, the same in every panel."""
    others = list(panel.lines["other"].unique()) if "other" in panel.lines else [""]
    return dict(zip(others, LINE_STYLES, strict=False))


def _bases(table: pd.DataFrame, keys: list[str]) -> pd.Series:
    """Labels without the brackets that tell a variant, unless one job has two variants of a method."""
    bases = table["method"].map(lambda label: Label.parse(label).base)
    return table["method"] if table[keys].assign(base=bases).duplicated().any() else bases


def _curves(jobs: Sequence[Job], adjustment: str) -> Iterator[Panel]:
    """A panel for each job: its curves against the amount of further training."""
    for job in jobs:
        title = ", ".join(f"{key}={value}" for key, value in job.swept.items())
        curves = job.curves.query("adjustment == @adjustment")
        lines = curves.rename(columns={"epoch": "x", "cosine_mean": "mean", "cosine_sem": "sem"})
        yield Panel(title, "epochs of further training", lines)


def _draw(axes: Axes, panel: Panel) -> None:
    text, size = wrapped(panel.title, TITLE, 9)
    axes.set_title(text, loc="left", fontsize=size, parse_math=False)
    axes.set_xlabel(panel.xlabel)
    styles, lines = _styles(panel), panel.lines if "other" in panel.lines else panel.lines.assign(other="")
    methods = list(lines["method"].unique())
    for (label, other), line in lines.groupby(["method", "other"], sort=False):
        number = methods.index(label)
        every = 1 if len(line) <= 12 else (0.02 + 0.013 * number, 0.15)  # of a curve, not at the same places
        marker = 4 + 4 * (1 - (number + 1) / len(methods))  # what coincides stays visible beneath the next
        draw_line(axes, str(label), line["x"], line["mean"], line["sem"], every, marker, styles[str(other)])
    set_scale(axes, lines["x"])
    if len(values := lines["x"].unique()) <= TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values], minor=False)
        axes.set_xticks([], minor=True)
