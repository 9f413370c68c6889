"""A map of the damped solve's agreement over damping and amount of further training."""

from __future__ import annotations

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from fimo.report.figures import set_scale


def draw_dampings(axes: Axes, grid: tuple[xr.DataArray, xr.DataArray]) -> None:
    """A map of the damped solve's mean cosine over damping λ and amount of further training, with λ = 1/(ηt) dashed.

    Args:
        axes: to draw on.
        grid: mean cosines over test examples `[damping, step]` with `epoch`; and the matched damping, `[step]`.
    """
    cosines, matched = grid
    epochs, dampings = cosines["epoch"].values, cosines["damping"].values
    mesh = axes.pcolormesh(epochs, dampings, cosines.values, vmin=0, vmax=1, cmap="viridis", shading="nearest")
    axes.plot(epochs, matched, color="white", linestyle="--")
    axes.set_yscale("log")
    set_scale(axes, pd.Series(epochs))
    axes.set_ylim(float(dampings.min()), float(dampings.max()))
    axes.grid(False)
    axes.figure.colorbar(mesh, ax=axes, label="cosine (centred)")
