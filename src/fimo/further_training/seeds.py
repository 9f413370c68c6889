"""The gold standard's seeds, one after another or several side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pytorch_lightning as pl
import xarray as xr
from pytorch_lightning.loggers import Logger

from fimo.elapsed import Elapsed
from fimo.further_training.module import FurtherTrainingModule
from fimo.further_training.settings import FurtherTraining
from fimo.models.fitting import fit
from fimo.problem import Problem


def train_seeds(
    problem: Problem,
    settings: FurtherTraining,
    seeds: Sequence[int],
    claim: Callable[[int], bool] = lambda seed: True,
    seeds_at_once: int = 1,
    logger: Logger | None = None,
    callbacks: Iterable[pl.Callback] = (),
) -> Iterator[tuple[int, xr.Dataset, Elapsed]]:
    """Train on from θ_f with every seed that can be claimed, and yield each seed as soon as it is finished.

    Args:
        problem: network, objective and rows, on the device to compute on.
        settings: what further training is.
        seeds: in this order.
        claim: whether this process may compute a seed; False where another one does or did.
        seeds_at_once: seeds in one ensemble.
        logger: of the live curves, or none.
        callbacks: Lightning callbacks that follow every seed.

    Yields:
        The seed, its losses (see `fimo.effect`) and what it took.

    Raises:
        UserError: for an optimizer that is not elementwise.
    """
    settings.optimizer.require_elementwise()
    unclaimed = iter(seeds)
    while group := _next_group(unclaimed, claim, seeds_at_once):
        start = Elapsed.now()
        module = FurtherTrainingModule(problem, settings, group)
        fit(module, settings.epochs, problem.device, logger=logger, callbacks=callbacks)
        elapsed = (Elapsed.now() - start) / len(group)
        for seed, losses in module.results().items():
            yield seed, losses, elapsed


def _next_group(seeds: Iterator[int], claim: Callable[[int], bool], size: int) -> list[int]:
    group: list[int] = []
    for seed in seeds:
        if claim(seed):
            group.append(seed)
        if len(group) == size:
            break
    return group
