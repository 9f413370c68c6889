"""Many runs of the same network, trained in lockstep as one stack of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from fimo.further_training.evaluation import blocks, rows_at_once, test_losses, token_losses
from fimo.further_training.leave_out import Batch
from fimo.further_training.modes import parameters_of_run, rng_seeded, statistics_of, training_mode
from fimo.further_training.optimizer_factory import OptimizerFactory
from fimo.further_training.stacking import channels_last, clipped, copies, in_chains, memory_order
from fimo.models.function_of_rows import spread
from fimo.models.requirements import LOOKED_AT
from fimo.problem import Parameters, Problem
from fimo.rows import Inputs, map_inputs
from fimo.vmapping import vmap_works


@dataclass(frozen=True)
class Chunk:
    """Some runs of the ensemble.

    Attributes:
        runs: which they are, and the first of them as the host knows it.
        parameters: `[run, *parameter shape]`.
        stored: the same memory, each as it lies there, with its axes in their order in `orders` (see `memory_order`).
        orders: of each parameter's axes.
        optimizer: of the stored ones: torch's fused optimisers rely on contiguous tensors.
        statistics: of batch normalisation, stacked likewise, where every run updates its own; else empty.
    """

    runs: Tensor
    first: int
    parameters: Parameters
    stored: list[Tensor]
    orders: list[list[int]]
    optimizer: torch.optim.Optimizer
    statistics: Parameters

    @property
    def state(self) -> Parameters:
        """What the network is called with."""
        return self.parameters | self.statistics


class ForwardPass(NamedTuple):
    """A forward pass of a step.

    Attributes:
        columns: the places of the batch that it sees.
        seed: of what it draws, or None for a network that draws nothing.
        length: that sequences are cut to, or None for inputs of one size.
    """

    columns: slice
    seed: int | None
    length: int | None


class Ensemble:
    """Independent runs that start from θ_f and take their steps together.

    Every step is one `vmap`ped loss, one backward pass through the sum of the runs' losses (which keeps the runs
    independent), and one elementwise optimiser step, chunk by chunk. Results don't depend on the chunks.

    Args:
        problem: network, objective and rows, in the dtype and on the device of the training.
        groups: `[run]`, a number for each run; runs of different numbers never share a chunk. Runs that skip a step
            must differ here from those that don't: they would share the optimiser's step count otherwise. With
            `own_statistics`, runs of one number must have equally many rows in every batch.
        optimizer: makes the optimiser of a list of stacked parameters.
        runs_per_chunk: runs in a chunk at the most.
        clip: bound on each run's gradient norm, or none.
        own_statistics: batch normalisation works with the statistics of the batch in training, and every run updates
            and is evaluated with its own; else all keep those of the final model.
        autocast: dtype of the matrix products in training, if another.
        stacked: whether runs are stacked where `vmap` can; if not, they go one after another, with channels last.
    """

    def __init__(
        self,
        problem: Problem,
        groups: Tensor,
        optimizer: OptimizerFactory,
        runs_per_chunk: int,
        clip: float | None = None,
        own_statistics: bool = False,
        autocast: torch.dtype | None = None,
        stacked: bool = True,
    ) -> None:
        self.named = problem.network  # in messages, and in the memory of what `vmap` takes
        problem = problem if autocast else in_chains(problem)
        self.problem = problem if stacked else channels_last(problem)
        self.clip, self.size, self.autocast = clip, len(groups), autocast
        test_blocks = blocks(problem.test, rows_at_once(problem, min(runs_per_chunk, self.size)))
        self.test_blocks = [problem.test.keep(block) for block in test_blocks]
        self.test_order = torch.cat(test_blocks).argsort().to(problem.device)
        self.statistics = statistics_of(problem.network) if own_statistics else {}
        self.vectorised = stacked and self._vmap_works(min(runs_per_chunk, self.size))
        chunks = _split(groups, runs_per_chunk if self.vectorised else 1)
        self.chunks = [self._chunk(runs, optimizer) for runs in chunks]

    def _chunk(self, runs: Tensor, optimizer: OptimizerFactory) -> Chunk:
        parameters = copies(self.problem.parameters, len(runs))
        orders = [memory_order(parameter) for parameter in parameters.values()]
        stored = [p.permute(order) for p, order in zip(parameters.values(), orders, strict=True)]
        for parameter in (*parameters.values(), *stored):
            parameter.requires_grad_()
        statistics = copies(self.statistics, len(runs))
        whose = runs.to(self.problem.device), int(runs[0])
        return Chunk(*whose, parameters, stored, orders, optimizer(stored), statistics)

    def step(self, batch: Batch, randomness: tuple[int, int] | None = None) -> None:
        """One training step of every run that takes part; the others keep everything, optimiser state included.

        Args:
            batch: rows and weights of each run.
            randomness: for a network that draws at random (dropout masks), the seeds of the batch's forward pass and of
                that of the separate places; the draws are the same for all runs.
        """
        with training_mode(self.problem.network, True, bool(self.statistics)):
            for chunk in self.chunks:
                if batch.counts[chunk.first]:  # as in all of its chunk, see `groups`
                    self._step(chunk, batch, randomness)

    def _step(self, chunk: Chunk, batch: Batch, randomness: tuple[int, int] | None) -> None:
        chunk.optimizer.zero_grad()  # the last step's gradients, before memory is needed
        passes = self._passes(chunk, batch, randomness)
        parameters = list(chunk.parameters.values())
        with self._its_parameters(chunk):
            loss = torch.stack([self._loss(chunk, batch, forward_pass) for forward_pass in passes]).sum()
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        if self.clip is not None:
            gradients = clipped(gradients, self.clip)
        for parameter, gradient, order in zip(chunk.stored, gradients, chunk.orders, strict=True):
            parameter.grad = gradient.permute(order).contiguous()
        chunk.optimizer.step()

    def _its_parameters(self, chunk: Chunk) -> AbstractContextManager[None]:
        if self.vectorised:
            return nullcontext()
        return parameters_of_run(self.problem.network, {name: p[0] for name, p in chunk.parameters.items()})

    def _passes(self, chunk: Chunk, batch: Batch, randomness: tuple[int, int] | None) -> Iterator[ForwardPass]:
        """The forward passes of a step.

        Sequences are cut to the longest of all runs, not of the chunk's: a dropout mask depends on their length.
        """
        end = batch.rows.shape[1]
        if self.statistics:  # a place without a row must not enter them; all runs of the chunk have equally many
            end = int(batch.counts[chunk.first])
        if randomness is None or batch.n_separate == 0:
            yield ForwardPass(slice(end), randomness and randomness[0], batch.longest and max(batch.longest))
        else:
            yield ForwardPass(slice(end - batch.n_separate), randomness[0], batch.longest and batch.longest[0])
            yield ForwardPass(slice(end - batch.n_separate, end), randomness[1], batch.longest and batch.longest[1])

    def _loss(self, chunk: Chunk, batch: Batch, forward_pass: ForwardPass) -> Tensor:
        """Sum of the runs' losses: its gradient with respect to one run's parameters is that run's own."""
        inputs, targets = self.problem.train.take(batch.rows[chunk.runs, forward_pass.columns], forward_pass.length)
        weight = batch.weight[chunk.runs, forward_pass.columns].to(next(iter(chunk.parameters.values())))
        with rng_seeded(forward_pass.seed):
            return self._each_run(self._weighted_loss, 4)(chunk.state, inputs, targets, weight).sum()

    def _weighted_loss(self, parameters: Parameters, inputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        device = self.problem.device.type
        with torch.autocast(device, self.autocast) if self.autocast else nullcontext():
            outputs = self.problem.outputs(parameters, inputs)
        return weights @ self.problem.objective.loss(outputs.to(weights.dtype), targets)

    @torch.no_grad()
    def test_losses(self) -> Tensor:
        """Loss of every run at every test example, `[run, test]` in float64, the network in eval mode."""
        losses = torch.empty(self.size, len(self.problem.test), dtype=torch.float64, device=self.problem.device)
        with training_mode(self.problem.network, False):
            for chunk in self.chunks:
                outputs = (
                    (self._each_run(self.problem.outputs, 1)(chunk.state, b.inputs), b) for b in self.test_blocks
                )
                parts = [test_losses(self.problem, of_runs, block.targets) for of_runs, block in outputs]
                losses[chunk.runs] = torch.cat(parts, 1)[:, self.test_order]
        return losses.cpu()

    def token_losses(self, run: int) -> Tensor | None:
        """Losses of single tokens in one run, `[test, token]`, see `fimo.further_training.evaluation`.

        Args:
            run: its number.
        """
        chunk = next(chunk for chunk in self.chunks if run in chunk.runs)
        state = {name: tensor[chunk.runs.tolist().index(run)] for name, tensor in chunk.state.items()}
        with training_mode(self.problem.network, False):
            parts = token_losses(self.problem, state, self.test_blocks)
        return None if parts is None else parts[self.test_order].cpu()

    def _each_run(self, function: Callable[..., Tensor], stacked: int) -> Callable[..., Tensor]:
        """`function` for every run of a chunk, results stacked; its first `stacked` arguments have an axis `run`."""

        def only_run(*args: Inputs) -> Tensor:
            first = (map_inputs(lambda tensor: tensor[0], argument) for argument in args[:stacked])
            return function(*first, *args[stacked:])[None]

        def all_runs(*args: Inputs) -> Tensor:
            in_dims = tuple(0 if place < stacked else None for place in range(len(args)))
            return vmap(function, in_dims, randomness="same")(*args)

        return all_runs if self.vectorised else only_run

    def _vmap_works(self, calls: int) -> bool:
        """Whether `vmap` takes network and loss; if not, runs go one after another, with the same results."""
        parameters = copies(self.problem.parameters, 2)
        theta = [parameter.requires_grad_() for parameter in parameters.values()]
        # Stacked like those of a step: where the data decide which way a network takes, that is what vmap can't follow.
        rows = self.problem.train[spread(len(self.problem.train), LOOKED_AT)]
        inputs, targets = (map_inputs(lambda part: torch.stack([part] * 2), part) for part in rows)

        def losses(parameters: Parameters, inputs: Inputs, targets: Tensor) -> Tensor:
            return self.problem.objective.loss(self.problem.outputs(parameters, inputs), targets)

        arguments, what = (parameters | copies(self.statistics, 2), inputs, targets), "runs of further training"
        about: dict[str, Any] = {"what": what, "network": self.named, "calls": calls, "differentiated": theta}
        with training_mode(self.problem.network, True, bool(self.statistics)):
            return vmap_works(losses, arguments, randomness="same", around=partial(rng_seeded, 0), **about)


def _split(groups: Tensor, runs_per_chunk: int) -> list[Tensor]:
    """Runs of each group in chunks of nearly equal size, at most `runs_per_chunk`."""
    chunks: list[Tensor] = []
    for group in groups.unique():
        runs = torch.nonzero(groups == group).flatten()
        chunks += runs.tensor_split(-(-len(runs) // runs_per_chunk))
    return chunks
