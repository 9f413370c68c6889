"""A method as a run has it: its preconditioner, where its gradients are taken, and what it is told of training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr

from fimo.attribution import attribute
from fimo.errors import MethodFailed, UserError
from fimo.further_training.settings import FurtherTraining
from fimo.memory import DUAL_BYTES, SELF_INFLUENCE_ROWS
from fimo.optimizers import LinearisedSGD, linearised
from fimo.pipeline.failures import own_failure, require_gradients
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.spectral_filters import GaussNewtonFilter
from fimo.problem import Problem
from fimo.ranking import SCORE, all_left_out, rank_rows
from fimo.unrolled.base import DependsOnTraining
from fimo.unrolled.displaced import MOST_AMOUNTS, DisplacedGradients
from fimo.unrolled.trajectory import RunState, Trajectory
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton
from fimo.views import Views

NOT_DISPLACED = "none"


@dataclass(frozen=True)
class Scored:
    """Scores, and what there is to report of how they came about.

    Attributes:
        values: `[test, left_out]`, or `[step, test, left_out]`; or a ranking of all training rows in their place.
        diagnostics: residuals, dampings, scales, by name.
        notes: sentences for the reader of the scores.
    """

    values: Any
    diagnostics: dict[str, Any]
    notes: Sequence[str]


@dataclass(frozen=True)
class Method:
    """A method of a run.

    Attributes:
        name: under which it was chosen, `cg`.
        label: in legends and files, the base with the variant in brackets: `CG (λ = 10 λ0)`.
        preconditioner: φ and P, not fitted to anything; it is copied before it is.
        dtype: that gradients are computed in.
        curvature_rows: P is fitted to so many evenly spaced training rows; None for all.
        sides: whose gradients are taken where further training has got to: `none`, `train` or `both`.
        trajectory: whether they are taken along one full run instead.
        segments: parts of that run at whose beginnings the curvature is taken anew, see `Trajectory`.
        estimate: estimates the displacement for a method that knows nothing of further training.
        most_amounts: of further training at which moved gradients are taken, see `DisplacedGradients`.
    """

    name: str
    label: str
    preconditioner: Preconditioner
    dtype: torch.dtype = torch.float64
    curvature_rows: int | None = None
    sides: str = NOT_DISPLACED
    trajectory: bool = False
    segments: int = 1
    estimate: UnrolledGaussNewton | None = None
    most_amounts: int | None = MOST_AMOUNTS

    @property
    def version(self) -> int:
        """The preconditioner's: raised when its numbers change."""
        return self.preconditioner.version

    @property
    def follows_training(self) -> bool:
        """Whether the scores depend on how much further training there is."""
        return isinstance(self.preconditioner, DependsOnTraining) or self.sides != NOT_DISPLACED

    def scores(self, problem: Problem, training: FurtherTraining | None = None, seed: int = 0) -> Scored:
        """The scores of all left-out examples for all test examples.

        Args:
            problem: in the method's dtype, or in another where its network takes no other.
            training: the further training that the scores are to predict, for a method that follows it.
            seed: of the full run that a trajectory follows.

        Raises:
            UserError: where the scores depend on further training and none is given, or its optimiser has no linear
                recursion; `MethodFailed` where the method can't be applied to the problem.
        """
        return self._scored(problem, training, seed, attribute)

    def rank(self, problem: Problem, top: int, training: FurtherTraining | None = None, seed: int = 0) -> Scored:
        """All training rows ranked for every test example, see `fimo.ranking.rank_rows`.

        Args:
            problem: see `scores`; what it leaves out does not matter.
            top: rows that are kept at each end of a ranking.
            training: see `scores`.
            seed: see `scores`.

        Raises:
            UserError: as `scores`.
        """
        quick = copy.deepcopy(self.preconditioner)
        if isinstance(quick, GaussNewtonFilter) and self.sides == NOT_DISPLACED and not self.trajectory:
            quick.most_rows = SELF_INFLUENCE_ROWS  # only few test examples have to be multiplied with P
        method = replace(self, preconditioner=quick, most_amounts=None)  # a view is ranked by itself
        return method._scored(all_left_out(problem), training, seed, partial(rank_rows, top=top))

    def _scored(
        self, problem: Problem, training: FurtherTraining | None, seed: int, evaluated: Callable[..., Any]
    ) -> Scored:
        """What `evaluated` makes of the problem, the preconditioner and its views."""
        method, views = copy.deepcopy(self.preconditioner), None
        with own_failure(self.label):
            if self.sides == NOT_DISPLACED and not self.trajectory:
                require_gradients(problem)
            if self.follows_training:
                views = self._views(method, problem, require_training(self.label, training), seed)
            values = evaluated(problem, method, views=views, curvature_rows=self.curvature_rows)
        numbers = values[SCORE] if isinstance(values, xr.Dataset) else values
        if not bool(np.isfinite(numbers).any()):
            reason = method.notes.get("diverged", "nothing that is computed is finite")
            raise MethodFailed(f"{self.label} gives no number for any test example: {reason}.")
        if self.trajectory:
            method.note("path", f"gradients are taken along a full run of further training, that of seed {seed}")
        if self.follows_training and training is not None and training.clip is not None:
            method.note(
                "clip",
                f"further training clips gradients to the norm {training.clip:g}, and its recursion on a quadratic "
                "model knows of no clipping",
            )
        if problem.dtype != self.dtype:
            own, wanted = (str(dtype).removeprefix("torch.") for dtype in (problem.dtype, self.dtype))
            method.note("precision", f"gradients in {own}, since the network does not take {wanted}")
        return Scored(values, method.diagnostics, list(method.notes.values()))

    def _views(self, method: Preconditioner, problem: Problem, training: FurtherTraining, seed: int) -> Views | None:
        """Where the equation is evaluated; a method that depends on further training learns of it."""
        recursion = training_recursion(training, problem)
        if isinstance(method, DependsOnTraining):
            method.for_training(recursion)
        if self.trajectory:
            from fimo.further_training.full_run import full_run  # Lightning, which other methods don't need

            states = [RunState(*place) for place in full_run(problem, training, seed)]
            views = Trajectory(states, self.segments)
            views.prepare(method, problem.dtype)
            return views
        if self.sides == NOT_DISPLACED:
            return None
        return DisplacedGradients(self.sides, self._estimate(method).for_training(recursion), self.most_amounts)

    def _estimate(self, method: Preconditioner) -> UnrolledGaussNewton:
        if isinstance(method, UnrolledGaussNewton):
            return method
        if self.estimate is None:
            return displacement_estimate(method, self.curvature_rows)
        return copy.deepcopy(self.estimate)


def displacement_estimate(
    method: Preconditioner, curvature_rows: int | None, dual_bytes: int = DUAL_BYTES
) -> UnrolledGaussNewton:
    """What estimates the displacement for a method that knows nothing of further training.

    Args:
        method: its draws stand for the exact curvature here too, where it has some.
        curvature_rows: training rows of its curvature.
        dual_bytes: bound on the memory of its dual.
    """
    draws = method.curvature_settings if method.sampling else {}
    return UnrolledGaussNewton("the displacement's estimate", curvature_rows, dual_bytes, **draws)


def require_training(label: str, training: FurtherTraining | None) -> FurtherTraining:
    """The further training that a method asks for.

    Args:
        label: of the method.
        training: what was handed over.

    Raises:
        UserError: where there is none.
    """
    if training is None:
        raise UserError(
            f"{label} depends on how much further training there is, found no training: give a fimo.FurtherTraining as "
            "the argument training."
        )
    return training


def training_recursion(training: FurtherTraining, problem: Problem) -> LinearisedSGD:
    """Further training on a quadratic model: learning rates, evaluated steps and what else the optimiser does.

    Args:
        training: what further training is.
        problem: whose training rows make its steps.

    Raises:
        Unavailable: for an optimiser without a linear recursion.
    """
    return linearised(training.optimizer, training.evaluation_steps(problem), training.batch_size)
