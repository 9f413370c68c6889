"""The unifying view: every gradient-based method is one equation (arXiv 2412.03906, section 4)."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from fimo.gradients import gradient_source
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem

# Gradients are made and used in blocks of rows that would fit in this much memory as plain matrices.
BLOCK_BYTES = 256 * 2**20


def attribute(problem: Problem, preconditioner: Preconditioner, block_bytes: int = BLOCK_BYTES) -> xr.DataArray:
    """Scores of all left-out examples for all test examples.

        score[j, i] = φ(g_j)ᵀ P φ(g_i) / n

    g_j and g_i are the gradients at θ_f of the loss at test example j and training example i, n = |D|. A positive
    score says that leaving i out raises the loss at j: the example helped. The sign and the 1/n are fixed here for
    every method.

    Args:
        problem: in the dtype that the scores are wanted in; float64 is right for small networks.
        preconditioner: the method's φ and P.
        block_bytes: bound on the memory of one block of gradients; the scores don't depend on it.

    Returns:
        `[test, left_out]`, labelled with positions in the full splits.
    """
    gradients = gradient_source(problem, preconditioner.factored)
    network_bytes = sum(p.numel() * p.element_size() for p in problem.parameters.values())
    rows = max(1, block_bytes // network_bytes)
    P, phi, n = preconditioner.fit(problem), preconditioner.phi, len(problem.train)
    tests = torch.arange(len(problem.test)).split(rows)
    scores = []
    for left_out in problem.left_out.split(rows):
        g_train = P @ phi(gradients(problem, problem.train.keep(left_out)))
        g_tests = (phi(gradients(problem, problem.test.keep(test))) for test in tests)
        scores.append(torch.cat([g_test.products(g_train) / n for g_test in g_tests]))
    values = torch.cat(scores, dim=1).to(torch.float64).cpu().numpy()
    coordinates = {axis: np.asarray(index) for axis, index in problem.coordinates.items()}
    return xr.DataArray(values, coordinates, ("test", "left_out"), name="score")
