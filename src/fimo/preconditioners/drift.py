"""How far further training goes from θ_f by itself, because the mean training gradient there is not zero."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from fimo.gradients.footprint import activation_bytes
from fimo.gradients.source import BLOCK_BYTES
from fimo.problem import Parameters, Problem

# A way that raises the loss is halved so often; then nothing of it is gone.
HALVINGS = 10


def lowered(problem: Problem, drift: Parameters, weight_decay: float = 0.0) -> tuple[Problem, float]:
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
