"""The objective of rows whose targets carry draws from the model: its curvature is that of the draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fimo.models.carrying import Carrying
from fimo.models.objective import Objective
from fimo.models.predictive import Predictive
from fimo.models.weighted import Weighted
from fimo.rows import Rows


class Sampled(Carrying):
    """ℓ, whose curvature in the outputs is the mean of rrᵀ over the columns r of k draws (see `models/predictive.py`).

    The draws stand behind each row's targets, as weights do, so that the curvature is the same one in every pass over
    the rows, whatever blocks they come in.

    Args:
        given: the objective of rows without draws, ℓ.
        draws: what was drawn, `given.predictive` or `given.signs`.
        shape: of one row's targets.
        drawn: shape of one row's draws, `[sample, …]`.
    """

    def __init__(self, given: Objective, draws: Predictive, shape: tuple[int, ...], drawn: tuple[int, ...]) -> None:
        super().__init__(given, shape)
        self.draws, self.drawn = draws, drawn

    def _parts(self) -> tuple[Any, ...]:
        return self.given, self.draws, self.shape, self.drawn

    def _split(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Targets as ℓ takes them, and draws `[row, sample, …]`."""
        own = torch.Size(self.shape).numel()
        plain, drawn = targets[:, :own], targets[:, own:]
        return plain.reshape(len(targets), *self.shape), drawn.reshape(len(targets), *self.drawn)

    def curvature_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """R = (r_1, …, r_k)/√k of the k draws: E[RRᵀ] is the curvature of ℓ.

        Args:
            outputs: f, `[row, output]`.
            targets: with draws, `[row, …]`.

        Returns:
            R, `[row, output, sample]`.
        """
        plain, drawn = self._split(targets)
        return self.draws.columns(self.given, outputs, plain, drawn) / self.drawn[0] ** 0.5


def without_weights(objective: Objective) -> Objective:
    """The objective of rows that all count once."""
    return objective.given if isinstance(objective, Weighted) else objective


def with_draws(rows: Rows, drawn: Tensor) -> Rows:
    """Rows whose targets carry draws.

    Args:
        rows: with weights, or without.
        drawn: `[row, sample, …]`; they get the targets' dtype.

    Returns:
        The rows, their weights behind the draws.
    """
    targets = rows.plain.targets
    both = torch.cat([targets.reshape(len(rows), -1), drawn.reshape(len(rows), -1).to(targets)], 1)
    return replace(rows.plain, targets=both).weighted_by(rows.weights)
