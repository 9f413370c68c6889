"""What a final model gives at a few rows, as a part of its address.

Parameters, code and what a network prints don't say all that determines a result: a network has attributes, buffers
that are not stored and functions that it was given, a loss or a measurement has a closure, defaults or large tensors.
What they do is seen where they are used.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fimo.further_training.modes import rng_seeded, training_mode
from fimo.groups import Groups
from fimo.models.function_of_rows import rows_that_fit, spread
from fimo.problem import Problem

# Rows of either split that are looked at.
FEW = 8
# A network of at most so many bytes is looked at in float64.
MOST_BYTES = 2**28
# Decimals on which all machines and numbers of threads agree, as parts of the largest number.
DECIMALS = {torch.float64: 7}
DECIMALS_OTHERWISE = 3
# Numbers below it are rounding.
SMALLEST = 1e-6


@torch.enable_grad()
def behaviour(problem: Problem) -> list[list[float | str]]:
    """Numbers that two problems have in common only where network, loss and measurement do the same at a few rows.

    Args:
        problem: the final model, its objective, its measurement and its rows.

    Returns:
        Losses of training rows in eval mode and, with one draw of what is drawn, in training mode; the norms of their
        gradients by parameter; what is measured at test rows. All are rounded to what does not depend on the machine.
    """
    both, network = (problem.train, problem.test), problem.network
    train, test = (rows.keep(spread(len(rows), rows_that_fit(network, rows, FEW))) for rows in both)
    few = replace(problem, train=train, test=test, left_out=Groups.of([0], len(train)))
    small = 8 * sum(parameter.numel() for parameter in few.network.parameters()) <= MOST_BYTES
    few = few.in_precision(torch.float64 if small else few.dtype)  # a copy, whose statistics may change
    theta = {name: parameter.detach().requires_grad_() for name, parameter in few.parameters.items()}
    losses = few.losses(theta, few.train)
    gradients = torch.autograd.grad(losses.sum(), list(theta.values()), materialize_grads=True, allow_unused=True)
    with torch.no_grad():
        measured = few.measured(theta, few.test)
        with training_mode(few.network, True), generators_seeded():
            in_training = few.losses(theta, few.train)
    norms = torch.stack([gradient.norm() for gradient in gradients])
    decimals = DECIMALS.get(few.dtype, DECIMALS_OTHERWISE)
    return [_rounded(numbers.detach(), decimals) for numbers in (losses, in_training, norms, measured)]


@contextmanager
def generators_seeded() -> Iterator[None]:
    """Inside, the generators of torch, numpy and Python are seeded; afterwards they are as they were."""
    before = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)
    try:
        with rng_seeded(0):
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _rounded(numbers: Tensor, decimals: int) -> list[float | str]:
    """The largest in absolute value, and all as parts of it."""
    largest = max(float(numbers.abs().max()), SMALLEST)
    parts = (numbers.double() / largest).round(decimals=decimals) + 0.0  # no −0
    return [f"{largest:.{decimals}g}", *parts.tolist()]
