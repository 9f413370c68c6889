"""The spread of attribution scores, drawn as in the paper's Figure 10."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from fimo.comparison.sorted_scores import EARLY, LATE, Profiles
from fimo.report.figures import COLOURS

LINES = {EARLY: ("#555555", "-"), LATE: ("#000000", ":")}


def draw_sorted(axes: Axes, profiles: Profiles) -> None:
    """A line for each label against the rank, as in the paper's Figure 10.

    Args:
        axes: to draw on.
        profiles: `[rank]` by label, of unit length.
    """
    for label, values in profiles.items():
        colour, style = LINES.get(label, (COLOURS.get(label, "#444444"), "-"))
        axes.plot(np.arange(1, len(values) + 1), values, style, color=colour, label=label)
