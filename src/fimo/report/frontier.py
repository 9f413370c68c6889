"""What quality costs, as a panel: share of the ceiling's area over processor seconds, and the frontier."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fimo.report.figures import COLOURS, look

FRONTIER = "frontier"


def draw_frontier(axes: Axes, table: pd.DataFrame) -> None:
    """A marker for each estimate, with one standard error over test examples, and the frontier as a line of steps.

    Args:
        axes: to draw on.
        table: of `fimo.comparison.frontier.quality_table`.
    """
    best = table[table["on_frontier"]]
    if len(best):
        x = [*best["processor_seconds"], table["processor_seconds"].max()]
        y = [*best["share_mean"], best["share_mean"].iloc[-1]]
        axes.plot(x, y, "-", drawstyle="steps-post", color="#bbbbbb", linewidth=1.5, zorder=1, label=FRONTIER)
    others = 0
    for row in table.itertuples():
        colour, marker = look(str(row.method), others)
        others += row.method not in COLOURS
        axes.errorbar(
            row.processor_seconds,
            row.share_mean,
            row.share_sem,
            fmt=marker,
            color=colour,
            markersize=5,
            elinewidth=1,
            label=row.method,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(numticks=6))
    shares = table["share_mean"]
    axes.set_ylim(np.nanmin([0.02, *shares]) - 0.05, np.nanmax([1.0, *shares]) + 0.05)
