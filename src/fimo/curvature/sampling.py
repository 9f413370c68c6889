"""Curvature by sampling: k draws stand for the exact root of each row's curvature."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fimo.gradients.footprint import blocks_that_fit, in_order_of_rows
from fimo.memory import BLOCK_BYTES
from fimo.models.objective import Objective
from fimo.models.predictive import Predictive
from fimo.models.sampled import Sampled, with_draws, without_weights
from fimo.problem import Problem
from fimo.randomness import seed_of, uniform_at

# Sets the draws apart from all else that is drawn with the same seed.
STREAM = 19


@dataclass(frozen=True)
class Sampling:
    """Draws at every training row, a function of seed and row alone.

    The Gauss–Newton matrix of a problem `of` it has `samples` gradients for each row, in place of as many as the exact
    root has columns (one less than there are classes for the cross-entropy), and is the exact one in the mean over
    seeds.

    Attributes:
        samples: k, draws for each row; the first of them are those of fewer.
        seed: of the draws.
        kind: `sampled` for targets from the model's own predictive distribution, `sketched` for random signs (see
            `fimo.models.predictive`).
    """

    samples: int = 1
    seed: int = 0
    kind: str = "sampled"

    @torch.no_grad()
    def of(self, problem: Problem) -> Problem:
        """The same problem, each training row's targets with what is drawn for it at the problem's parameters.

        They are drawn once and carried along: outputs that are computed in other blocks differ by rounding, by which a
        draw may become another.
        """
        objective, rows = without_weights(problem.objective), problem.train.plain
        uniform, parts, blocks = self._uniform(problem), [], blocks_that_fit(problem, BLOCK_BYTES)
        for some in blocks:
            inputs, targets = rows[some]
            outputs = problem.outputs(problem.parameters, inputs)
            parts.append(self._draws(objective).draws(objective, outputs, targets, uniform[some].to(problem.device)))
        drawn = in_order_of_rows(parts, blocks)
        return replace(
            problem,
            objective=Sampled(objective, self._draws(objective), tuple(rows.targets.shape[1:]), tuple(drawn.shape[1:])),
            train=with_draws(problem.train, drawn),
            measurement=problem.measurement or objective,  # test examples have no draws
        )

    def _draws(self, objective: Objective) -> Predictive:
        return objective.predictive if self.kind == "sampled" else objective.signs

    def _uniform(self, problem: Problem) -> Tensor:
        """Random numbers for each row, by its position in the split, `[row, sample, width]`."""
        rows = problem.train.plain
        objective = without_weights(problem.objective)
        inputs, targets = rows[rows.by_length()[-1:]]  # the longest, which has the most columns
        width = self._draws(objective).width(objective, problem.outputs(problem.parameters, inputs), targets)
        index = problem.train.index.numpy()
        return uniform_at(seed_of(self.seed, STREAM), self.samples * width, index).unflatten(1, (self.samples, width))
