"""How far further training goes from θ_f by itself, because the mean training gradient there is not zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fimo.errors import UserError
from fimo.gradients.footprint import blocks_that_fit
from fimo.memory import BLOCK_BYTES
from fimo.models.copies import copied
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.spectral_filters import GaussNewtonFilter
from fimo.problem import Parameters, Problem
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton
from fimo.views import View

SIDES = ("train", "both")
# Amounts of further training at which gradients are taken, where there are more.
MOST_AMOUNTS = 12
# A displacement that raises the loss is halved so often; then nothing of it is taken.
HALVINGS = 10


@dataclass(frozen=True)
class DisplacedGradients:
    """Views with gradients where further training has got to after each evaluated step, θ_f + Δ_t; P is that of θ_f.

    Where Δ_t would raise the mean training loss, the fraction of it is taken that doesn't (see `backtracking`).

    Attributes:
        sides: `train`, the gradients of training examples alone (arXiv 2412.03906, Proposition 1); or `both`.
        estimate: of Δ_t; it may be the method itself.
        most: amounts at which gradients are taken; those of further steps are interpolated. None for every step.

    Raises:
        UserError: for other sides.
    """

    sides: str
    estimate: UnrolledGaussNewton
    most: int | None = MOST_AMOUNTS

    def __post_init__(self) -> None:
        if self.sides not in SIDES:
            raise UserError(f"moved must be one of none, {', '.join(SIDES)}, found {self.sides!r}.")

    def __call__(self, P: Preconditioner, problem: Problem) -> Iterator[View]:
        """One view for each amount at which gradients are taken.

        Scores of the steps between two amounts have P of the step itself, and are linear in t in the gradients.

        Args:
            P: fitted; its diagnostics and notes say what was taken of the drifts.
            problem: at θ_f.

        Yields:
            The views.
        """
        estimate = self.estimate if self.estimate is P else self.estimate.fit(problem)
        fractions: list[float] = []
        steps, decay = estimate.recursion.steps, estimate.recursion.loss_decay
        before = training_loss(problem, decay)
        places = spaced(steps, self.most)
        for drift, shares in zip(estimate.drifts(problem, places), hats(steps, places), strict=True):
            elsewhere, fraction = backtracking(problem, drift, before, decay)
            fractions.append(fraction)
            single = P.some(list(shares)) if isinstance(P, GaussNewtonFilter) and P.steps else P
            at_test = elsewhere if self.sides == "both" else problem
            interpolated = [steps[place] for place in shares]
            yield View(single, at_test, elsewhere, interpolated, shares=list(shares.values()))
        if len(places) < len(steps):
            amounts = f"{len(places)} amounts of further training"
            P.note("amounts", f"gradients are taken after {amounts}, and interpolated between them")
        P.diagnostics |= {"share_of_drift": fractions, "mean_gradient_norm": estimate.diagnostics["mean_gradient_norm"]}
        if estimate is not P and "rows" in estimate.notes:
            P.note("rows of the drift", f"the drift is estimated with {estimate.notes['rows']}")
        if short := sum(fraction < 1 for fraction in fractions):
            P.note(
                "drift",
                f"the estimated drift raises the training loss after {short} of {len(fractions)} amounts of further "
                f"training, where it is shortened, to as little as {min(fractions):.2g} of its length",
            )


def spaced(steps: Sequence[int], most: int | None) -> list[int]:
    """Places of some steps, about evenly spaced in the logarithm, the first and the last among them.

    Args:
        steps: ascending.
        most: how many are wanted at the most, at least 2; None for all.

    Returns:
        The places, ascending.
    """
    if most is None or len(steps) <= most:
        return list(range(len(steps)))
    wanted, logarithms = np.geomspace(steps[0], steps[-1], most), np.log(steps)
    nearest = {int(np.abs(logarithms - np.log(step)).argmin()) for step in wanted}
    return sorted(nearest | {0, len(steps) - 1})


def hats(steps: Sequence[int], places: Sequence[int]) -> Iterator[dict[int, float]]:
    """For each of some places, the share that it has of every step that is interpolated with it, linear in the step.

    Args:
        steps: ascending.
        places: of some of them, ascending, the first and the last step's among them.

    Yields:
        By place of the step; the shares of a step add up to 1.
    """
    at = np.array([steps[place] for place in places], dtype=float)
    shares = np.array([np.interp(steps, at, unit) for unit in np.eye(len(places))])
    for row in shares:
        yield {int(place): float(row[place]) for place in row.nonzero()[0]}


def backtracking(
    problem: Problem, drift: Parameters, before: float, weight_decay: float = 0.0
) -> tuple[Problem, float]:
    """The problem at θ_f + s Δ, and s: 1, or the first of ½, ¼, … with which the training loss is not raised.

    The quadratic model that Δ comes from holds no further. The loss is the mean over rows, and what weight decay adds.

    Args:
        problem: at θ_f.
        drift: Δ, by parameter.
        before: the training loss at θ_f.
        weight_decay: half of it times the squared norm of the parameters belongs to the loss.

    Returns:
        The problem at the other parameters, and the fraction s; θ_f and 0 where every fraction raises the loss.
    """
    for step_fraction in (0.5**halvings for halvings in range(HALVINGS + 1)):
        elsewhere = displaced(problem, {name: step_fraction * part for name, part in drift.items()})
        if training_loss(elsewhere, weight_decay) <= before:
            return elsewhere, step_fraction
    return problem, 0.0


def displaced(problem: Problem, displacement: Parameters) -> Problem:
    """The problem with other parameters, θ_f plus a displacement.

    Args:
        problem: at θ_f; it is not changed.
        displacement: by parameter.

    Returns:
        The problem with a network of its own.
    """
    elsewhere = replace(problem, network=copied(problem.network))
    with torch.no_grad():
        for name, parameter in elsewhere.theta.items():
            parameter.add_(displacement[name])
    return elsewhere


@torch.no_grad()
def training_loss(problem: Problem, weight_decay: float) -> float:
    """Mean loss of all training rows, plus half the decay times the squared norm of θ.

    Args:
        problem: its training rows, at its network's parameters.
        weight_decay: the decay.

    Returns:
        The sum of both.
    """
    total = 0.0
    for some in blocks_that_fit(problem, BLOCK_BYTES):
        inputs, targets = problem.train[some]
        total += float(problem.objective.loss(problem.network(inputs), targets).double().sum())
    squares = sum(float(parameter.double().square().sum()) for parameter in problem.parameters.values())
    return total / len(problem.train) + weight_decay / 2 * squares
