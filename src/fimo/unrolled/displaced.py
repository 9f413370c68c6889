"""How far further training goes from θ_f by itself, because the mean training gradient there is not zero."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from fimo.errors import UserError
from fimo.gradients.footprint import activation_bytes
from fimo.memory import BLOCK_BYTES
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Parameters, Problem
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

SIDES = ("train", "both")
# A way that raises the loss is halved so often; then nothing of it is gone.
HALVINGS = 10


@dataclass(frozen=True)
class DisplacedGradients:
    """Gradients taken where further training has got to after each evaluated step, θ_f + Δ_t; P is that of θ_f.

    Where Δ_t would raise the mean training loss, so much of the way is gone as still lowers it.

    Attributes:
        which: `train`, the gradients of training examples alone (arXiv 2412.03906, Proposition 1); or `both`.
        estimate: of Δ_t; it may be the method itself.

    Raises:
        UserError: for another word.
    """

    which: str
    estimate: UnrolledGaussNewton

    def __post_init__(self) -> None:
        if self.which not in SIDES:
            raise UserError(f"moved must be one of none, {', '.join(SIDES)}, found {self.which!r}.")

    def views(self, P: Preconditioner, problem: Problem) -> Iterator[tuple[Preconditioner, Problem, Problem]]:
        """P of each step, and the problem where gradients of test and of training examples are taken."""
        estimate = self.estimate if self.estimate is P else self.estimate.fit(problem)
        shares: list[float] = []
        for place, drift in enumerate(estimate.drifts(problem)):
            there, share = backtracking(problem, drift, estimate.recursion.loss_decay)
            shares.append(share)
            yield P.only(place), there if self.which == "both" else problem, there
        P.facts |= {"share_of_drift": shares, "mean_gradient_norm": estimate.facts["mean_gradient_norm"]}
        if estimate is not P and "rows" in estimate.notes:
            P.note("rows of the drift", f"the drift's estimate has its {estimate.notes['rows']}")
        if short := sum(share < 1 for share in shares):
            P.note(
                "drift",
                f"the estimated drift raises the training loss after {short} of {len(shares)} evaluated "
                f"steps, where as little as {min(shares):.2g} of the way was gone",
            )


def backtracking(problem: Problem, drift: Parameters, weight_decay: float = 0.0) -> tuple[Problem, float]:
    """The problem at θ_f + s Δ, and s: 1, or the first of ½, ¼, … with which the training loss is not raised.

    The quadratic model that Δ comes from holds no further. The loss is the mean over rows, and what weight decay adds.
    """
    before = training_loss(problem, weight_decay)
    for share in (0.5**halvings for halvings in range(HALVINGS + 1)):
        there = displaced(problem, {name: share * part for name, part in drift.items()})
        if training_loss(there, weight_decay) <= before:
            return there, share
    return problem, 0.0


def displaced(problem: Problem, by: Parameters) -> Problem:
    """The problem with other parameters: θ_f plus `by`."""
    network = copy.deepcopy(problem.network)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.add_(by[name])
    return replace(problem, network=network)


@torch.no_grad()
def training_loss(problem: Problem, weight_decay: float) -> float:
    """Mean loss of all training rows, plus half the decay times the squared norm of all parameters."""
    total = 0.0
    for some in torch.arange(len(problem.train)).split(max(1, BLOCK_BYTES // activation_bytes(problem))):
        inputs, targets = problem.train[some]
        total += float(problem.objective.loss(problem.network(inputs), targets).double().sum())
    squares = sum(float(parameter.double().square().sum()) for parameter in problem.parameters.values())
    return total / len(problem.train) + weight_decay / 2 * squares
