"""The full run alone: where further training goes with all examples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

import torch

from fimo.further_training.ensemble import Ensemble
from fimo.further_training.leave_out import FULL_RUN
from fimo.further_training.modes import precomputed
from fimo.further_training.module import LockstepBatches, is_stochastic, randomness
from fimo.further_training.settings import FurtherTraining
from fimo.problem import Parameters, Problem


def full_run(problem: Problem, settings: FurtherTraining, seed: int) -> Iterator[Parameters]:
    """θ after each evaluated step of the full run of a seed, by name.

    Args:
        problem: in any dtype; it is cast to the dtype of the settings.
        settings: what further training is.
        seed: of the order of examples and of dropout masks.

    Yields:
        The parameters after each evaluated step, which later steps leave as they are.
    """
    updated, alone = settings.batch_norm == "updated", FULL_RUN
    problem = precomputed(problem.to(dtype=settings.dtype), updated, settings.autocast)
    evaluation_steps = settings.evaluation_steps(problem)
    ensemble = Ensemble(problem, torch.zeros(1), settings.optimizer, 1, settings.clip, updated, settings.autocast)
    epochs, random = repeat(LockstepBatches(problem, settings, [seed], alone)), is_stochastic(problem)
    for step, batch in zip(range(1, evaluation_steps[-1] + 1), chain.from_iterable(epochs), strict=False):
        ensemble.step(batch, randomness(seed, step) if random else None)
        if step in evaluation_steps:
            yield {name: part[0].detach().clone() for name, part in ensemble.chunks[0].parameters.items()}
