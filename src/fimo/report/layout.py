"""Titles and legends that stay inside a figure, whatever their length: measured, not guessed from characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

# Points: where a single word is wider than the figure, its title shrinks as far as this and is then broken.
SMALLEST = 6
# Inches: what stays free beside a title; of a legend entry, its line and the gaps around it.
MARGIN, HANDLE = 0.15, 0.6
# Of a legend, at most.
COLUMNS = 6


def text_width(text: str, size: float) -> float:
    """Width in inches of one line of text.

    Args:
        text: without line breaks.
        size: of the font, in points.

    Returns:
        The width in the current font family.
    """
    dpi = 72
    # "$" would be read as mathematics.
    return RendererAgg(1, 1, dpi).get_text_width_height_descent(text, FontProperties(size=size), False)[0] / dpi


def wrapped(text: str, width: float, size: float) -> tuple[str, float]:
    """Text broken into lines no wider than a width; a word that is too wide shrinks it, and is broken at the smallest.

    Args:
        text: any; its own line breaks are spaces.
        width: in inches.
        size: of the font, in points.

    Returns:
        The text with line breaks, and the size to draw it with.
    """
    words = text.replace("\n", " ").split(" ")
    widest = max(text_width(word, size) for word in words)
    size = max(SMALLEST, min(size, size * width / widest)) if widest > width else size
    lines: list[str] = []
    for word in words:
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
            continue
        while len(word) > 1 and text_width(word, size) > width:
            fits = next(
                count for count in range(len(word) - 1, 0, -1) if count == 1 or text_width(word[:count], size) <= width
            )
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return "\n".join(lines), size


def set_title(figure: Figure, title: str, size: float = 11) -> None:
    """A title over the whole figure, from its left edge, in as many lines as it takes.

    Args:
        figure: with a constrained layout, which makes room for the title.
        title: any length.
        size: of the font, in points.
    """
    text, size = wrapped(title, figure.get_figwidth() - 2 * MARGIN, size)
    figure.suptitle(text, x=MARGIN / figure.get_figwidth(), ha="left", fontsize=size, parse_math=False)


def legend_entries(*panels: Axes) -> dict[str, Artist]:
    """One drawn line for each label of some panels; equal labels are one entry."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return entries


def set_legend(
    figure: Figure, entries: Mapping[str, Artist], side: Literal["lower", "upper"] = "lower", size: float = 9
) -> int:
    """A legend below or above all panels, in as many columns as the figure's width holds.

    Args:
        figure: with a constrained layout, which makes room for the legend.
        entries: by label, see `legend_entries`.
        side: `lower` or `upper`.
        size: of the font, in points.

    Returns:
        The legend's rows.
    """
    if not entries:
        return 0
    widths = [text_width(label, size) + HANDLE for label in entries]
    counts = range(min(COLUMNS, len(widths)), 1, -1)
    columns = next((count for count in counts if _fits(widths, count, figure)), 1)
    rows = -(-len(widths) // columns)
    columns = -(-len(widths) // rows)  # no column is much shorter than the others
    place: Literal["outside lower center", "outside upper center"] = (
        "outside lower center" if side == "lower" else "outside upper center"
    )
    figure.legend(list(entries.values()), list(entries), loc=place, ncols=columns, fontsize=size)
    return rows


def _fits(widths: Sequence[float], columns: int, figure: Figure) -> bool:
    rows = -(-len(widths) // columns)
    each = (max(widths[first : first + rows]) for first in range(0, len(widths), rows))
    return sum(each) <= figure.get_figwidth() - 2 * MARGIN


def draw_dashed(axes: Axes, label: str, x: pd.Series, y: pd.Series) -> None:
    """A grey dashed line that others are compared with; a single point, of which no line is seen, has a marker.

    Args:
        axes: to draw on.
        label: of the line.
        x: the horizontal axis.
        y: the line.
    """
    axes.plot(x, y, "o--" if len(x) == 1 else "--", color="#555555", label=label)
