"""The full run alone: where further training goes with all examples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

import torch

from fimo.further_training.ensemble import Chunk, Ensemble
from fimo.further_training.leave_out import FULL_RUN
from fimo.further_training.modes import is_stochastic, precomputed_for_training
from fimo.further_training.module import LockstepBatches, randomness
from fimo.further_training.settings import FurtherTraining
from fimo.problem import Parameters, Problem


def full_run(problem: Problem, settings: FurtherTraining, seed: int) -> Iterator[tuple[Parameters, Parameters | None]]:
    """Where the full run of a seed is after each evaluated step.

    Args:
        problem: in any dtype; it is cast to the dtype of the settings.
        settings: what further training is.
        seed: of the order of examples and of dropout masks.

    Yields:
        θ by name, and Adam's mean of squared gradients with its bias corrected, None under another optimiser; later
        steps leave both as they are.
    """
    updated, alone = settings.batch_norm == "updated", FULL_RUN
    problem = precomputed_for_training(problem.to(dtype=settings.dtype), updated, settings.autocast)
    evaluation_steps = settings.evaluation_steps(problem)
    ensemble = Ensemble(problem, torch.zeros(1), settings.optimizer, 1, settings.clip, updated, settings.autocast)
    epochs, random = repeat(LockstepBatches(problem, settings, [seed], alone)), is_stochastic(problem)
    for step, batch in zip(range(1, evaluation_steps[-1] + 1), chain.from_iterable(epochs), strict=False):
        ensemble.step(batch, randomness(seed, step) if random else None)
        if step in evaluation_steps:
            (chunk,) = ensemble.chunks
            yield {name: part[0].detach().clone() for name, part in chunk.parameters.items()}, _mean_squares(chunk)


def _mean_squares(chunk: Chunk) -> Parameters | None:
    group = chunk.optimizer.param_groups[0]  # the only one, where Adam has rules here
    squares = {}
    for name, parameter, order in zip(chunk.parameters, chunk.stored, chunk.orders, strict=True):
        state = chunk.optimizer.state[parameter]
        if "exp_avg_sq" not in state:
            return None
        corrected = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
        squares[name] = corrected.permute(*torch.tensor(order).argsort().tolist())[0]
    return squares
