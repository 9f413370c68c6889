"""Further training as a Lightning module over a lockstep ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import xarray as xr
from torch import Tensor

from fimo.effect import with_diverged_as_nan
from fimo.errors import UserError
from fimo.further_training.ensemble import Ensemble
from fimo.further_training.evaluation import require_finite
from fimo.further_training.footprint import are_stacked, runs_per_chunk
from fimo.further_training.leave_out import SCHEMES, Batch, full_and
from fimo.further_training.modes import (
    differs_in_training,
    is_stochastic,
    precomputed_for_training,
    require_no_other_state,
    training_mode,
)
from fimo.further_training.order import Order
from fimo.further_training.settings import FurtherTraining
from fimo.further_training.tangents import Tangents
from fimo.groups import NOBODY
from fimo.models.copies import copy_of
from fimo.models.function_of_rows import works_in_its_precision
from fimo.models.training import without_variance
from fimo.problem import Problem
from fimo.randomness import seed_of


class FurtherTrainingModule(pl.LightningModule):
    """The full run and all left-out runs of some seeds, side by side; or the full runs with their tangents.

    One training step is one step of every run. Where the test losses are taken, `training_step` returns them, and
    callbacks find them in the `outputs` of `on_train_batch_end`: `{"losses": Dataset}`, the newest evaluation with the
    axes `seed, step, test, left_out` (see `fimo.effect`).

    Args:
        problem: in any dtype; it is cast to the dtype of the settings.
        settings: what further training is.
        seeds: of the order of examples (and of dropout masks), each with runs of its own.

    Raises:
        UserError: for several seeds of a network with dropout, whose masks are shared by all runs of one seed; for a
            batch of one row where batch normalisation needs more; for a network with other state that training changes.
    """

    def __init__(self, problem: Problem, settings: FurtherTraining, seeds: Sequence[int]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.problem, self.settings, self.seeds = problem.to(dtype=settings.dtype), settings, list(seeds)
        if not works_in_its_precision(self.problem.network, self.problem.train[slice(0, 2)][0]):
            raise UserError(
                f"The network {type(problem.network).__name__} does not take {settings.dtype}, since it makes tensors "
                "of another dtype itself: make them in the dtype of its inputs, or choose the other further.dtype "
                "(float32 or float64)."
            )
        require_no_other_state(self.problem)
        self.problem = precomputed_for_training(self.problem, settings.batch_norm == "updated", settings.autocast)
        self.random = is_stochastic(self.problem)
        if self.random and len(self.seeds) > 1:
            raise UserError(
                "further.seeds_at_once must be 1 for a network with dropout, whose masks all runs of a seed share; "
                f"found {len(self.seeds)} seeds at once."
            )
        left_out = problem.left_out.members
        self.runs = full_and(left_out[:0] if settings.tangents else left_out)  # of one seed: what each leaves out
        self.evaluation_steps = settings.evaluation_steps(problem)
        self.taken = 0  # steps
        # Of the full run, and then those of each left-out run (or the effects that tangents give).
        shape = (len(self.seeds), len(self.evaluation_steps), 1 + len(problem.left_out), len(problem.test))
        self.losses = torch.full(shape, torch.nan, dtype=torch.float64)
        updated = settings.batch_norm == "updated"
        if updated:
            check_smallest_batch(self.problem, settings)
        groups = self._unlike_the_full_run(updated).repeat(len(self.seeds))
        stacked = are_stacked(settings, self.problem)
        at_once = runs_per_chunk(settings, self.problem, len(groups))
        how = settings.clip, updated, settings.autocast, stacked
        self.ensemble = Ensemble(self.problem, groups, settings.optimizer, at_once, *how)
        self.tangents = self._tangents() if settings.tangents else None
        self.loss_before = self.ensemble.test_losses()[0]
        require_finite(problem, self.loss_before)
        self.tokens_before = self.ensemble.token_losses(0)

    def _tangents(self) -> Tangents:
        together = runs_per_chunk(self.settings, self.problem, len(self.problem.left_out))
        # In eval mode all of calculus goes through some networks that it can't go through in training mode.
        training = self.random or differs_in_training(self.problem)
        return Tangents(self.problem, self.ensemble, self.settings.optimizer, together, self.settings.clip, training)

    def _unlike_the_full_run(self, updated: bool) -> Tensor:
        """A number for each run of a seed, 0 for the full run's; runs of different numbers can't share a chunk.

        With `drop` a left-out run skips the steps at the end of an epoch for which it has no rows, and has fewer rows
        than others in the step before, which statistics of the batch must not hide.
        """
        n, size = len(self.problem.train), 1 if updated else self.settings.batch_size
        if self.settings.leave_out != "drop":
            return torch.zeros(len(self.runs), dtype=torch.int64)
        rows = n - self.runs.ne(NOBODY).sum(1)
        return -(-n // size) + (-rows // size)

    def train_dataloader(self) -> LockstepBatches:
        """Rows and weights of every run, step by step."""
        return LockstepBatches(self.problem, self.settings, self.seeds, self.runs)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch as it is: what belongs on the device is made there, and the counts belong on the host.

        Args:
            batch: of all runs.
            device: that of the training.
            dataloader_idx: it doesn't matter.

        Returns:
            The batch.
        """
        return batch

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers of all chunks, which the ensemble calls."""
        return [chunk.optimizer for chunk in self.ensemble.chunks]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One step of every run.

        Args:
            batch: rows and weights of each run.
            batch_idx: it doesn't matter.

        Returns:
            The newest losses where they were taken, `{"losses": Dataset}`, else nothing.
        """
        self.taken += 1
        drawn = randomness(self.seeds[0], self.taken) if self.random else None
        if self.tangents:
            self.tangents.step(batch, drawn)  # at the parameters that the runs leave in this step
        self.ensemble.step(batch, drawn)
        if self.taken not in self.evaluation_steps:
            return {}
        self.trainer.should_stop = self.taken == self.evaluation_steps[-1]
        place = self.evaluation_steps.index(self.taken)
        taken = self.ensemble.test_losses().unflatten(0, (len(self.seeds), len(self.runs)))
        self.losses[:, place] = torch.cat([taken, self.tangents.effects()], 1) if self.tangents else taken
        return {"losses": xr.concat([self._dataset(seed, slice(place, place + 1)) for seed in self.seeds], "seed")}

    def results(self) -> dict[int, xr.Dataset]:
        """Each seed's losses after the last step, with NaN for runs that diverged (see `fimo.effect`).

        Of language models those of each token too, `token_loss_before` and `token_loss_full [test, token]`.
        """
        losses = {seed: with_diverged_as_nan(self._dataset(seed, slice(None))) for seed in self.seeds}
        if self.tokens_before is None:
            return losses
        for place, seed in enumerate(self.seeds):
            tokens = self.ensemble.token_losses(place * len(self.runs))
            by_name = {"token_loss_before": self.tokens_before, "token_loss_full": tokens}
            losses[seed] = losses[seed].assign({name: (("test", "token"), loss) for name, loss in by_name.items()})
        return losses

    def _dataset(self, seed: int, steps: slice) -> xr.Dataset:
        losses = self.losses[self.seeds.index(seed), steps].numpy()
        step, name = np.array(self.evaluation_steps[steps]), "effect" if self.tangents else "loss_left_out"
        return xr.Dataset(
            {
                "loss_before": ("test", self.loss_before.numpy()),
                "loss_full": (("step", "test"), losses[:, 0]),
                name: (("step", "test", "left_out"), losses[:, 1:].swapaxes(1, 2)),
            },
            coords={
                "step": step,
                "epoch": ("step", step / self.settings.steps_per_epoch(self.problem)),
                **self.problem.coordinates,
            },
        )


class LockstepBatches:
    """One epoch after another of what all runs of all seeds see in each step, seed by seed along the axis `run`.

    Args:
        problem: its training rows.
        settings: what further training is.
        seeds: of the orders of rows.
        runs: `[run, member]` of one seed: the rows that each run leaves out, filled with `NOBODY`.
    """

    def __init__(self, problem: Problem, settings: FurtherTraining, seeds: Sequence[int], runs: Tensor) -> None:
        self.orders = [Order(len(problem.train), settings.batch_size, seed) for seed in seeds]
        self.problem, self.settings, self.runs = problem, settings, runs

    def __len__(self) -> int:
        """Steps in an epoch."""
        return len(self.orders[0])

    def __iter__(self) -> Iterator[Batch]:
        """The next epoch."""
        train, device, scheme = self.problem.train, self.problem.device, SCHEMES[self.settings.leave_out]
        orders = torch.stack([order.permutation() for order in self.orders])
        if train.lengths is None:
            yield from scheme(orders.to(device), self.settings.batch_size, self.runs)
            return
        for batch in scheme(orders, self.settings.batch_size, self.runs):  # the host has to know the longest sequence
            together, separate = batch.rows.split([batch.rows.shape[1] - batch.n_separate, batch.n_separate], dim=1)
            longest = train.longest(together) or 0, (train.longest(separate) or 0) if batch.n_separate else 0
            yield batch._replace(rows=batch.rows.to(device), weight=batch.weight.to(device), longest=longest)


def randomness(seed: int, step: int) -> tuple[int, int]:
    """Seeds of the dropout masks of a step.

    Args:
        seed: of the run.
        step: from 1.

    Returns:
        The seed of the forward pass of the batch, and that of the pass of its separate rows.
    """
    return seed_of(seed, step), seed_of(seed, step, 1)


def check_smallest_batch(problem: Problem, settings: FurtherTraining) -> None:
    """Refuse, before any training, a batch that has no variance.

    Args:
        problem: its network is copied, since its statistics change.
        settings: of the further training, with updated statistics.

    Raises:
        UserError: where torch can't normalise it.
    """
    rows = settings.smallest_batch(problem)
    network = copy_of(problem.network)
    with training_mode(network, True, True):
        reason = without_variance(network, problem.train[slice(0, rows)][0])
    if reason:
        raise UserError(
            f"further.batch_norm=updated needs the variance of every batch, but {len(problem.train)} training rows "
            f"(fewer without what is left out) in batches of {settings.batch_size} make one of {rows} row: choose "
            f"another data.batch_size, or further.batch_norm=frozen ({reason})."
        ) from reason
