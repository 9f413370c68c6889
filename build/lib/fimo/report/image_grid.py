"""Images side by side: test examples with the training images that matter to them."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fimo.report.figures import STYLE

# Inches: of an image's side, of its caption's line, of the column with the rows' titles.
SIDE, LINE, MARGIN = 0.95, 0.17, 1.1


@matplotlib.rc_context({**STYLE, "image.interpolation": "nearest"})
def image_grid(
    images: Sequence[Sequence[np.ndarray]],
    titles: Sequence[Sequence[str]],
    row_titles: Sequence[str],
    groups: Sequence[tuple[str, int]] = (),
) -> Figure:
    """Rows of images with captions.

    Args:
        images: of each row, `[height, width, channel]` with one or three channels, uint8; rows may differ in length.
        titles: a caption under each, of any number of short lines.
        row_titles: what stands on the left of each row.
        groups: what stands above neighbouring columns, and how many they are; a gap follows each group.

    Returns:
        The figure, as large as the images need; small ones are drawn with sharp pixels.
    """
    widths = _widths([count for _, count in groups] or [max(map(len, images))])
    lines = max(title.count("\n") + 1 for row in titles for title in row)
    height = SIDE + lines * LINE
    top = 0.3 if groups else 0.05
    size = (MARGIN + SIDE * sum(widths), top + height * len(images))
    figure = Figure(figsize=size)
    grid = figure.add_gridspec(
        len(images),
        len(widths),
        width_ratios=widths,
        left=MARGIN / size[0],
        right=1,
        bottom=0,
        top=1 - top / size[1],
        wspace=0,
        hspace=0,
    )
    columns = [place for place, width in enumerate(widths) if width == 1]
    for number, (row, captions, name) in enumerate(zip(images, titles, row_titles, strict=True)):
        for place, image, caption in zip(columns[: len(row)], row, captions, strict=True):
            _draw(figure.add_subplot(grid[number, place]), image, caption, height)
        y = 1 - (top + number * height + SIDE / 2) / size[1]
        figure.text(0.08 / size[0], y, name, va="center", ha="left", fontsize=9)
    start = 0
    for title, count in groups:
        first, last = columns[start], columns[start + count - 1]
        middle = MARGIN + SIDE * (sum(widths[:first]) + sum(widths[: last + 1])) / 2
        figure.text(middle / size[0], 1 - 0.2 / size[1], title, ha="center", va="baseline", fontsize=10, weight="bold")
        start += count
    return figure


def _widths(counts: Sequence[int]) -> list[float]:
    """Of the columns, in images: a narrow empty one between groups."""
    widths: list[float] = []
    for count in counts:
        widths += [*([0.25] if widths else []), *[1.0] * count]
    return widths


def _draw(axes: Axes, image: np.ndarray, caption: str, height: float) -> None:
    """The image in the upper part of its cell with a little white around it, the caption below."""
    cell = axes.get_position()
    share, inset = SIDE / height, 0.03
    image_height = share * cell.height
    x, y = cell.x0 + inset * cell.width, cell.y1 - (1 - inset) * image_height
    axes.set_position((x, y, (1 - 2 * inset) * cell.width, (1 - 2 * inset) * image_height))
    axes.set_axis_off()
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255, aspect="equal")
    axes.text(0.5, -0.03, caption, transform=axes.transAxes, ha="center", va="top", fontsize=7, linespacing=1.15)
