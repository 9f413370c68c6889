"""Figures of several data sets side by side, as the paper draws them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import TypeVar

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fimo.report.figures import STYLE

# Inches, of one panel.
WIDTH, HEIGHT, LEGEND = 3.2, 2.5, 0.3
COLUMNS = 3
# Of a panel's title, characters in a line; of the legend, inches that an entry may take.
TITLE, ENTRY = 44, 1.5

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
    """
    columns = 2 if len(panels) == 4 else min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(0.3 + WIDTH * columns, LEGEND + HEIGHT * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for number, (axes, (title, measured)) in enumerate(zip(grid, panels.items(), strict=False)):
        axes.set_title(textwrap.fill(f"({chr(ord('a') + number)}) {title}", TITLE), loc="left", fontsize=9)
        if isinstance(measured, str):
            _empty(axes, measured)
        else:
            draw(axes, measured)
    for axes in grid[len(panels) :]:
        axes.remove()
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    _one_legend(figure)
    return figure


def _empty(axes: Axes, reason: str) -> None:
    axes.set_axis_off()
    axes.text(0.02, 0.95, textwrap.fill(reason, 46), transform=axes.transAxes, va="top", fontsize=7, color="#555555")


def _one_legend(figure: Figure) -> None:
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        columns = min(len(entries), 5, int(figure.get_figwidth() / ENTRY))
        figure.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=columns)
