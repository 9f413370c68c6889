"""Figures of several data sets side by side, as the paper draws them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fimo.report.figures import STYLE
from fimo.report.layout import legend_entries, set_legend, wrapped

# Inches, of one panel, of a row of the legend, and of a figure of one panel.
WIDTH, HEIGHT, LEGEND, ALONE = 3.2, 2.5, 0.2, 5.0
COLUMNS = 3
# Inches, of a panel's title: those of the panel without its tick labels.
TITLE = 2.7

Measured = TypeVar("Measured")


@matplotlib.rc_context({**STYLE, "font.size": 9})
def panels_figure(
    panels: Mapping[str, Measured | str], draw: Callable[[Axes, Measured], None], xlabel: str, ylabel: str
) -> Figure:
    """A grid of panels with one legend.

    Args:
        panels: by title, what was measured; or, for a panel that stays empty, the reason.
        draw: draws one panel; equal labels are one line of the legend.
        xlabel: of the whole figure.
        ylabel: of the whole figure.

    Returns:
        The figure, three panels in a row.
    """
    columns = 2 if len(panels) == 4 else min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(ALONE, 0.3 + WIDTH * columns), HEIGHT * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for number, (axes, (title, measured)) in enumerate(zip(grid, panels.items(), strict=False)):
        text, size = wrapped(f"({chr(ord('a') + number)}) {title}", TITLE, 9)
        axes.set_title(text, loc="left", fontsize=size, parse_math=False)
        if isinstance(measured, str):
            _empty(axes, measured)
        else:
            draw(axes, measured)
    for axes in grid[len(panels) :]:
        axes.remove()
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    legend_rows = set_legend(figure, legend_entries(*figure.axes), "upper")
    figure.set_figheight(HEIGHT * rows + LEGEND * (legend_rows + 0.5))  # else a long legend would leave no panel
    return figure


def _empty(axes: Axes, reason: str) -> None:
    axes.set_axis_off()
    axes.text(0.02, 0.95, textwrap.fill(reason, 46), transform=axes.transAxes, va="top", fontsize=7, color="#555555")
