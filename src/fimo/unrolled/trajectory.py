"""Scores along one full run of further training: gradients where the parameters really were."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fimo.curvature.spectral_functions import SpectralFunctions
from fimo.errors import MethodFailed, UserError
from fimo.gradients import DenseGradients, GradientSource
from fimo.gradients.diagonal_metric import DiagonalMetric
from fimo.optimizers import LinearisedAdam, LinearisedSGD
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Parameters, Problem
from fimo.unrolled.deviations import LeftOutVectors, State
from fimo.unrolled.displaced import displaced
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton
from fimo.views import View


@dataclass(frozen=True)
class RunState:
    """Where a full run of further training is after a step.

    Attributes:
        parameters: θ, by name.
        mean_squares: Adam's mean of squared gradients with its bias corrected, by name; None under SGD.
    """

    parameters: Parameters
    mean_squares: Parameters | None = None


@dataclass(frozen=True)
class Trajectory:
    """Views along one full run of further training, one for each evaluated step.

        u ← (I − ηG)^k u + P_k ((1 − a) g_i(θ) + a g_i(θ')),   a = (k − 1)/(2k)        score[j, i] = g_j(θ')ᵀ u_i / n

    over the k steps from one evaluated step to the next, which lead from θ to θ' (a is the mean fraction of that way
    before each of them); P_k as in `UnrolledGaussNewton`, (I − ηG)^k = I − G P_k. With momentum the velocity is
    followed too. G is that of θ_f, or with several segments that of the parameters where each begins. Adam's D is that
    of the run itself, its mean over the evaluated steps of a segment.

    Attributes:
        states: of the run after each evaluated step.
        segments: parts of the run, as equally long as evaluated steps allow, at most one for each of them.
    """

    states: Sequence[RunState]
    segments: int = 1

    def __call__(self, P: Preconditioner, problem: Problem) -> Iterator[View]:
        """One view for each evaluated step, its products the deviations u_i.

        Args:
            P: an `UnrolledGaussNewton`, fitted to the problem by its eigendecomposition.
            problem: at θ_f.

        Yields:
            The views.

        Raises:
            UserError: for another method; `MethodFailed` without the eigendecomposition.
        """
        P = _unrolled(P)
        steps, begin, place = P.recursion.steps, 0, problem
        fitted: UnrolledGaussNewton | None = None
        state: State | None = None
        for segment in segments_of(steps, self.segments):
            states, old = self.states[segment], fitted
            fitted = self._fitted(P, place, states, first=old is None)
            state = _initial(fitted) if old is None or state is None else _in_coordinates_of(fitted, old, state)
            before = _left_out(place, fitted)
            for end, run in zip(steps[segment], states, strict=True):
                place = displaced(
                    problem, {name: run.parameters[name].to(p) - p for name, p in problem.parameters.items()}
                )
                after = _left_out(place, fitted)
                fraction = (end - begin - 1) / (2 * (end - begin))
                state = state.advanced(P.recursion, begin, end, before.scaled(1 - fraction) + after.scaled(fraction))
                yield View(fitted, place, place, [end], state.deviation)
                before, begin = after, end

    def prepare(self, P: Preconditioner, dtype: torch.dtype = torch.float64) -> None:
        """Make P what the first segment needs, before it is fitted: it would be fitted twice otherwise.

        Args:
            P: an `UnrolledGaussNewton` that knows the further training.
            dtype: of the problem that it is to be fitted to.

        Raises:
            UserError: for another method.
        """
        P = _unrolled(P)
        self._set(P, self.states[segments_of(P.recursion.steps, self.segments)[0]], dtype)

    def _set(self, P: UnrolledGaussNewton, states: Sequence[RunState], dtype: torch.dtype) -> None:
        P.in_segment = self.segments > 1
        P.dense = self.segments > 1  # sums of vectors from several segments have no factors
        P.fixed_metric = _mean_metric(P.recursion, states, dtype) if isinstance(P.recursion, LinearisedAdam) else None

    def _fitted(
        self, P: UnrolledGaussNewton, place: Problem, states: Sequence[RunState], first: bool
    ) -> UnrolledGaussNewton:
        """P at the beginning of a segment, through whose evaluated steps the run goes; P itself where that will do."""
        adam = isinstance(P.recursion, LinearisedAdam)
        if not (first and P.dense == (self.segments > 1) and adam == (P.fixed_metric is not None)):
            rows = len(P.fitted.train)
            P = copy.copy(P)
            self._set(P, states, place.dtype)
            P.fit_to(place, rows)
        if not isinstance(P.P, SpectralFunctions):
            raise MethodFailed(
                f"path=true of {P.label} needs the eigendecomposition of the dual or of G, which are larger than "
                "dual_bytes allows: raise it, or choose fewer curvature_rows."
            )
        return P


def _unrolled(P: Preconditioner) -> UnrolledGaussNewton:
    if not isinstance(P, UnrolledGaussNewton):
        raise UserError(f"path=true of {P.label} needs Unrolled-GN: choose moved=both instead.")
    return P


def segments_of(steps: Sequence[int], count: int) -> list[slice]:
    """Parts of the evaluated steps that end after equally many steps of training, as nearly as may be.

    Args:
        steps: that are evaluated, ascending.
        count: of the parts; at most as many as evaluated steps.
    """
    before = np.array([0, *steps[:-1]])
    starts = sorted({int(np.abs(before - share * steps[-1] / count).argmin()) for share in range(count)})
    return [slice(*pair) for pair in zip(starts, [*starts[1:], len(steps)], strict=True)]


def _left_out(problem: Problem, P: UnrolledGaussNewton) -> LeftOutVectors:
    """Gradients of the loss at all left-out examples, at the parameters of a problem."""
    source = GradientSource(problem, P.factored, coordinates=P.source.coordinates)
    first, *others = source.blocks(problem.train.keep(problem.left_out.rows))
    return LeftOutVectors.of(first.joined(others), P.spectrum)


def _initial(P: UnrolledGaussNewton) -> State:
    zero = LeftOutVectors.zero(P.spectrum)
    return State(zero, zero if P.recursion.momentum else None)


def _in_coordinates_of(P: UnrolledGaussNewton, before: UnrolledGaussNewton, state: State) -> State:
    """The same state with another spectrum and another metric: u is D^½ ũ, and v, of gradients, D^(−½) ṽ."""

    def changed(part: LeftOutVectors, power: int) -> LeftOutVectors:
        return LeftOutVectors.of(_changed(part.explicit(before.fitted), before.metric, P.metric, power), P.spectrum)

    return State(changed(state.deviation, 1), None if state.velocity is None else changed(state.velocity, -1))


def _changed(
    vectors: DenseGradients, before: DiagonalMetric | None, after: DiagonalMetric | None, power: int
) -> DenseGradients:
    """(D^½ D'^(−½))^power times each vector: from one metric's coordinates to another's."""
    if before is None or after is None:
        return vectors
    pairs = zip(vectors.tensors.items(), before.sqrt_diagonal.values(), after.sqrt_diagonal.values(), strict=True)
    return DenseGradients({name: tensor * (root / new) ** power for (name, tensor), root, new in pairs})


def _mean_metric(recursion: LinearisedSGD, states: Sequence[RunState], dtype: torch.dtype) -> DiagonalMetric:
    """D of the run's own mean of squares, the mean over some of its states."""
    assert isinstance(recursion, LinearisedAdam)
    squares = [state.mean_squares for state in states if state.mean_squares is not None]
    if len(squares) < len(states):
        raise UserError("A trajectory under Adam needs the mean of squares of each of its states.")
    means = {name: torch.stack([each[name] for each in squares]).mean(0).to(dtype) for name in squares[0]}
    return DiagonalMetric.of_squares(means, recursion.epsilon)
