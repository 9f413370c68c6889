"""Tangents of further training: the derivative of a run's parameters with respect to an example's weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vjp

from fimo.compat import differentiable_attention
from fimo.errors import UserError, lacks_derivative, short
from fimo.further_training.ensemble import Ensemble
from fimo.further_training.evaluation import blocks
from fimo.further_training.leave_out import Batch, full_and
from fimo.further_training.modes import rng_seeded, training_mode
from fimo.further_training.optimizer_factory import OptimizerFactory
from fimo.further_training.stacking import clipped
from fimo.groups import NOBODY
from fimo.models.objective import Objective
from fimo.optimizers.derivatives import Memory, UpdateDerivative, clipped_changes, derivative_of
from fimo.problem import Problem
from fimo.rows import Inputs, Rows
from fimo.vmapping import vmap_or_loop


@dataclass(frozen=True)
class Columns:
    """Some of a run's tangents, which go through the network together.

    Attributes:
        members: `[left_out, member]`, positions in the training rows, filled with `NOBODY`.
        tangents: u, `[left_out, param]`, in units of the parameters.
        memory: of the optimiser's derivative.
    """

    members: Tensor
    tangents: Tensor
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True)
class Followed:
    """A run on all examples, and its tangents.

    Attributes:
        parameters: the run's own, which its optimiser changes in place.
        update: the derivative of that optimiser's steps.
        columns: all tangents of the run.
    """

    parameters: list[Tensor]
    update: UpdateDerivative
    columns: list[Columns]

    @property
    def flat(self) -> Tensor:
        """The parameters as they are now, `[param]`."""
        return torch.cat([parameter.flatten() for parameter in self.parameters])


class Tangents:
    """Derivatives of runs on all examples, of each with respect to the weight of each group of left-out examples.

    `every_step` takes the example's ℓ_i/n from the loss of every step; with ε ℓ_i/n in its place and θ_t(ε) what
    further training leads to, u_i = dθ_t/dε at ε = 0 (a group's is the sum of its examples'). By SGD

        u_i ← u_i − η (H u_i − ∇ℓ_i(θ_t)/n),    u_i = 0 at first,

    H the Hessian of the batch's mean loss at θ_t; other optimisers have their own derivative. The effect of leaving i
    out on the loss at test example j is then, to first order in the weight, ∇ℓ_j(θ_t)·u_i. It is no difference of
    nearly equal losses, so float32 is enough for it.

    Hessians are multiplied backward through backward: forward through backward, the usual way, is silently wrong for
    the scale of a layer normalisation in torch 2.13.

    Args:
        problem: network, objective and rows, in the dtype and on the device of the training.
        ensemble: the runs to follow, one a seed.
        optimizer: that of the runs.
        tangents_per_chunk: tangents that go through the network together; they don't depend on it.
        clip: bound on each run's gradient norm, or none.
        training: whether the network has to be in training mode, which is then another function than in eval mode.

    Raises:
        UserError: for an optimiser whose derivative isn't known.
    """

    def __init__(
        self,
        problem: Problem,
        ensemble: Ensemble,
        optimizer: OptimizerFactory,
        tangents_per_chunk: int,
        clip: float | None = None,
        training: bool = True,
    ) -> None:
        self.problem, self.clip, self.training = problem, clip, training
        self.tangents_per_chunk = tangents_per_chunk
        self.names = list(problem.parameters)
        self.shapes = [parameter.shape for parameter in problem.parameters.values()]
        members = problem.left_out.members
        # As long as in the runs of the ensemble, which take the first row where nothing is left out: dropout masks
        # depend on it.
        self.length = problem.train.longest(full_and(members).clamp(min=0))
        chunks = -(-len(members) // tangents_per_chunk)
        self.followed = [
            Followed(
                [parameter.detach()[place] for parameter in chunk.parameters.values()],
                derivative_of(optimizer([torch.zeros(1, device=problem.device, requires_grad=True)])),
                [self._columns(some) for some in members.tensor_split(chunks)],
            )
            for chunk in ensemble.chunks
            for place in range(len(chunk.runs))
        ]

    def _columns(self, members: Tensor) -> Columns:
        zeros = torch.zeros(len(members), self.problem.size, dtype=self.problem.dtype, device=self.problem.device)
        return Columns(members.to(self.problem.device), zeros)

    def step(self, batch: Batch, randomness: tuple[int, int] | None = None) -> None:
        """One step of all tangents, before the runs take theirs.

        Args:
            batch: rows and weights of each run.
            randomness: the seeds of the step's dropout masks, of the batch and of the left-out examples.

        Raises:
            UserError: where torch has no second derivative of the network or the loss.
        """
        try:
            with training_mode(self.problem.network, self.training), differentiable_attention():
                for number, run in enumerate(self.followed):
                    self._step(run, self._loss(*self._of_run(batch, number)), randomness or (None, None))
        except RuntimeError as reason:
            if not lacks_derivative(reason):
                raise
            raise UserError(
                "Tangents need second derivatives, which torch does not have for a part of the network "
                f"{type(self.problem.network).__name__} or of the loss {self.problem.objective!r} ({short(reason)}): "
                "choose further.tangents=false, which trains without each left-out row."
            ) from reason

    def _of_run(self, batch: Batch, number: int) -> tuple[Inputs, Tensor, Tensor]:
        """Inputs, targets and weights of a run's batch, but for the separate places of left-out rows."""
        end = batch.rows.shape[1] - batch.n_separate
        inputs, targets = self.problem.train.take(batch.rows[number, :end], batch.longest and batch.longest[0])
        return inputs, targets, batch.weight[number, :end].to(self.problem.dtype)

    def _step(self, run: Followed, loss: Callable[[Tensor], Tensor], seeds: tuple[int | None, int | None]) -> None:
        parameters = run.flat
        with rng_seeded(seeds[0]):
            gradient_and_vjp: Any = vjp(grad(loss), parameters)
        gradient, hessian = gradient_and_vjp
        applied = gradient if self.clip is None else clipped((gradient[None],), self.clip)[0][0]
        run.update.follow(parameters, applied)
        for columns in run.columns:
            changes = self._each("tangents of further training", lambda tangent: hessian(tangent)[0], columns.tangents)
            own = self._gradients(parameters, self.problem.train, columns.members, self.length, seeds[1])
            changes.sub_(own, alpha=1 / len(self.problem.train))
            if self.clip is not None:
                changes = clipped_changes(changes, gradient, self.clip)
            run.update.step(columns.tangents, changes, columns.memory)

    def _loss(
        self, inputs: Inputs, targets: Tensor, weights: Tensor, objective: Objective | None = None
    ) -> Callable[[Tensor], Tensor]:
        """The weighted sum of losses, or of another objective, at some rows as a function of `[param]`."""
        objective = objective or self.problem.objective

        def loss(parameters: Tensor) -> Tensor:
            parts = parameters.split([shape.numel() for shape in self.shapes])
            named = {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}
            return weights @ objective.loss(self.problem.outputs(named, inputs), targets)

        return loss

    def _gradients(
        self,
        parameters: Tensor,
        rows: Rows,
        groups: Tensor,
        length: int | None,
        seed: int | None = None,
        objective: Objective | None = None,
    ) -> Tensor:
        """Gradients `[group, param]` of the loss, or of another objective, summed over the rows `[group, member]`."""

        def gradient(members: Tensor) -> Tensor:
            weights = members.ne(NOBODY).to(parameters.dtype)
            return grad(self._loss(*rows.take(members.clamp(min=0), length), weights, objective))(parameters)

        return self._each("gradients of examples in further training", gradient, groups, seed)

    @torch.no_grad()
    def effects(self) -> Tensor:
        """∇ℓ_j(θ_t)·u_i in float64, `[seed, left_out, test]`, the network in eval mode; ℓ_j is what is measured."""
        test = self.problem.test
        shape = len(self.followed), len(self.problem.left_out), len(test)
        effects = torch.empty(shape, dtype=torch.float64, device=self.problem.device)
        with training_mode(self.problem.network, False), differentiable_attention():
            for number, run in enumerate(self.followed):
                parameters = run.flat
                for some in (some for block in blocks(test) for some in block.split(self.tangents_per_chunk)):
                    places = some.to(self.problem.device)
                    gradients = self._gradients(
                        parameters, test, places[:, None], test.longest(some), objective=self.problem.watched
                    )
                    parts = [columns.tangents @ gradients.T for columns in run.columns]
                    effects[number, :, places] = torch.cat(parts).to(effects.dtype)
        return effects.cpu()

    def _each(self, what: str, function: Callable[[Tensor], Tensor], stack: Tensor, seed: int | None = None) -> Tensor:
        """`function` of each row of `stack`, stacked; all draw the same random numbers."""
        around = partial(rng_seeded, seed)
        mapped = vmap_or_loop(function, randomness="same", what=what, network=self.problem.network, around=around)
        return mapped(stack)
