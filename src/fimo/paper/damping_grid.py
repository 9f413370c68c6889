"""Scores of a damped Gauss–Newton solve with many dampings: what a damping could be chosen from."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from fimo.app.settings import optimizer_name
from fimo.attribution import attribute
from fimo.errors import Unavailable
from fimo.pipeline import methods
from fimo.pipeline.run import Question
from fimo.preconditioners.exact_gauss_newton import DampingGrid

# Dampings for each decade, from so many times below 1/(ηt) of the last step to so many times above that of the first.
EACH, BEYOND = 3, 10


def damped_scores(asked: Question) -> tuple[xr.DataArray, xr.DataArray]:
    """Scores `[damping, test, left_out]` of (G + λI)⁻¹ with many λ, and the matched one, 1/(ηt), `[step]`.

    Raises:
        Unavailable: under Adam, where the matched damping is none of G but of D^½ G D^½ (see `LinearisedAdam`).
    """
    cfg = asked.cfg
    if optimizer_name(cfg) != "SGD":
        raise Unavailable(
            "figure-damping and table-beyond compare with dampings around 1/(ηt), which are those of SGD: optimizer "
            f"must be sgd, found {optimizer_name(cfg)}."
        )
    problem = asked.problem.to(dtype=torch.float64)
    recursion = methods.recursion(cfg, problem)
    matched = 1 / recursion.filters(torch.zeros(1))[:, 0].numpy()
    ends = np.log10(matched.min() / BEYOND), np.log10(matched.max() * BEYOND)
    dampings = np.logspace(*ends, 1 + int(np.ceil(EACH * (ends[1] - ends[0]))))
    method = DampingGrid("damped GN", dampings.tolist(), methods.unrolled_rows(cfg), cfg.facts.dual_bytes)
    scores = attribute(problem, method).rename(step="damping")
    return scores.assign_coords(damping=dampings), xr.DataArray(matched, {"step": list(recursion.steps)}, ("step",))
