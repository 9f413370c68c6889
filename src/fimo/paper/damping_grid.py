"""Scores of a damped Gauss–Newton solve with many dampings: what a damping could be chosen from."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from fimo.attribution import attribute
from fimo.errors import Unavailable
from fimo.pipeline.methods import training_recursion
from fimo.pipeline.run import Run
from fimo.preconditioners.exact_gauss_newton import DampingGrid

# Dampings for each decade, from so many times below 1/(ηt) of the last step to so many times above that of the first.
DAMPINGS_PER_DECADE, MARGIN_FACTOR = 3, 10


def damped_scores(run: Run) -> tuple[xr.DataArray, xr.DataArray]:
    """Scores of (G + λI)⁻¹ with many λ, and the matched one, 1/(ηt).

    Args:
        run: whose problem and amounts of further training are taken.

    Returns:
        `[damping, test, left_out]`, and `[step]`.

    Raises:
        Unavailable: under Adam, where the matched damping is none of G but of D^½ G D^½ (see `LinearisedAdam`).
    """
    if run.training.optimizer_name != "SGD":
        raise Unavailable(
            "figure-damping compares with dampings around 1/(ηt), which are those of SGD: optimizer must be sgd, "
            f"found {run.training.optimizer_name}."
        )
    problem = run.problem.to(dtype=torch.float64)
    recursion = training_recursion(run.training, problem)
    matched = 1 / recursion.filters(torch.zeros(1))[:, 0].numpy()
    ends = np.log10(matched.min() / MARGIN_FACTOR), np.log10(matched.max() * MARGIN_FACTOR)
    dampings = np.logspace(*ends, 1 + int(np.ceil(DAMPINGS_PER_DECADE * (ends[1] - ends[0]))))
    limits = run.unrolled_limits
    method = DampingGrid("damped GN", dampings.tolist(), limits.curvature_rows, limits.dual_bytes, limits.curvature)
    scores = attribute(problem, method).rename(step="damping")
    return scores.assign_coords(damping=dampings), xr.DataArray(matched, {"step": list(recursion.steps)}, ("step",))
