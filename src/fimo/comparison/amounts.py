"""Amounts of further training that are looked at, out of all that were evaluated."""

from __future__ import annotations

import numpy as np

from fimo.comparison.agreement import Array


def log_spaced(epochs: Array, most: int) -> np.ndarray:
    """Places of the amounts nearest to log-spaced ones, the first and the last among them.

    Args:
        epochs: of each evaluated step, `[step]`, ascending.
        most: how many are wanted at the most, at least 2.

    Returns:
        Places in `epochs`, ascending: all where there are no more, and else up to `most`.
    """
    if len(epochs) <= most:
        return np.arange(len(epochs))
    wanted = np.geomspace(max(epochs[0], 1e-9), epochs[-1], most)
    return np.unique([np.abs(epochs - amount).argmin() for amount in wanted])
