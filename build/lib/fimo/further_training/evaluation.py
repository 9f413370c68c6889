"""Losses at the test examples."""

from __future__ import annotations

import torch
from torch import Tensor

from fimo.problem import Problem
from fimo.rows import Rows

# Of sequences that are evaluated together, the longest by the shortest: the rest of what is computed is padding.
STRETCH = 1.25


def blocks(test: Rows) -> list[Tensor]:
    """Positions of the test examples that go through the network together: all, or sequences of similar lengths."""
    if test.lengths is None:
        return [torch.arange(len(test))]
    lengths, order = test.lengths.cpu().sort(stable=True)
    similar: list[Tensor] = []
    while len(order):
        count = int((lengths <= STRETCH * lengths[0]).sum())
        similar.append(order[:count])
        lengths, order = lengths[count:], order[count:]
    return similar


def test_losses(problem: Problem, outputs: Tensor) -> Tensor:
    """The losses at the test examples, or what else is measured, in float64 `[run, test]`.

    The outputs are cast before the loss is taken: effects are differences of nearly equal losses.

    Args:
        problem: whose test targets and measurement they are.
        outputs: of each run's network at the test examples.

    Returns:
        The losses, one for each run and test example.
    """
    targets = problem.test.targets
    wide = targets.to(torch.float64) if targets.is_floating_point() else targets
    runs = len(outputs)
    repeated = wide.repeat(runs, *[1] * (wide.dim() - 1))
    losses = problem.watched.loss(outputs.to(torch.float64).flatten(0, 1), repeated)
    return losses.unflatten(0, (runs, len(wide)))
