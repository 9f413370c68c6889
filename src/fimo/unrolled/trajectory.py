"""Scores along one full run of further training: gradients where the parameters really were."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from fimo.curvature.spectrum import SpectralFunctions, Spectrum
from fimo.errors import MethodFailed, UserError
from fimo.gradients import DenseGradients, Gradients, GradientSource
from fimo.optimizers import LinearisedSGD
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.spectral_filters import ZERO
from fimo.problem import Parameters, Problem
from fimo.unrolled.displaced import displaced
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton
from fimo.views import View


@dataclass(frozen=True)
class Deviations:
    """The deviations u_i = w_i + AᵀU z_i that further training makes of left-out examples, A and U as in `Spectrum`.

    Attributes:
        terms: of w, gradients of all left-out examples at some parameters, each with its coefficient.
        inside: UᵀA w, `[n·rank, left_out]`.
        curved: z, `[n·rank, left_out]`.
        spectrum: of G.
    """

    terms: tuple[tuple[float, Gradients], ...]
    inside: Tensor
    curved: Tensor
    spectrum: Spectrum

    @classmethod
    def none(cls, spectrum: Spectrum) -> Deviations:
        """Those before the first step, u = 0."""
        zero = torch.zeros(1, dtype=torch.float64, device=spectrum.eigenvalues.device)
        return cls((), zero, zero, spectrum)

    def inner(self, gradients: Any) -> Tensor:
        """Inner products with gradients, `[left_out, gradient]`."""
        curved = self.curved.T @ self.spectrum.coordinates(gradients)
        return sum((weight * rows.inner(gradients).double() for weight, rows in self.terms), curved)

    def advanced(self, kept: SpectralFunctions, forced: SpectralFunctions, forces: Deviations) -> Deviations:
        """The deviations K u + F f after a segment, K and F functions of G.

        Args:
            kept: K.
            forced: F.
            forces: f; its part `curved` is zero.

        Returns:
            The new deviations.
        """
        kept_outside, forced_outside = float(kept.outside), float(forced.outside)
        terms = [(kept_outside * weight, rows) for weight, rows in self.terms]
        terms += [(forced_outside * weight, rows) for weight, rows in forces.terms]
        return Deviations(
            collected(terms),
            kept_outside * self.inside + forced_outside * forces.inside,
            kept.filters.mT * self.curved + kept.slopes.mT * self.inside + forced.slopes.mT * forces.inside,
            self.spectrum,
        )


def collected(terms: Sequence[tuple[float, Gradients]]) -> tuple[tuple[float, Gradients], ...]:
    """A linear combination of gradients with as few terms as their form allows.

    Plain gradients are added up; of those in factors the same ones are taken together, and those without weight left
    out.
    """
    weights: dict[int, float] = {}
    for weight, rows in terms:
        weights[id(rows)] = weights.get(id(rows), 0.0) + weight
    distinct = {id(rows): rows for _, rows in terms}
    merged = tuple((weight, distinct[key]) for key, weight in weights.items() if weight)
    if len(merged) < 2 or not isinstance(merged[0][1], DenseGradients):
        return merged
    total, *others = (rows.scaled(torch.full_like(rows.norms(), weight)) for weight, rows in merged)
    return ((1.0, reduce(operator.add, others, total)),)


@dataclass(frozen=True)
class Trajectory:
    """Views along one full run of further training, one for each evaluated step.

        u ← (I − ηG)^k u + P_k ((1 − a) g_i(θ) + a g_i(θ')),   a = (k − 1)/(2k)        score[j, i] = g_j(θ')ᵀ u_i / n

    over the k steps from one evaluated step to the next, which lead from θ to θ' (a is the mean fraction of that way
    before each of them); G is that of θ_f, P_k as in `UnrolledGaussNewton`, (I − ηG)^k = I − G P_k.

    Attributes:
        parameters: θ after each evaluated step of the run.
    """

    parameters: Sequence[Parameters]

    def __call__(self, P: Preconditioner, problem: Problem) -> Iterator[View]:
        """One view for each evaluated step, its products the deviations u_i.

        Args:
            P: an `UnrolledGaussNewton`, fitted to the problem by its eigendecomposition.
            problem: at θ_f.

        Yields:
            The views.

        Raises:
            UserError: under momentum or Adam, whose velocity would have to be kept too; `MethodFailed` without the
                eigendecomposition.
        """
        functions = spectral_functions(P)
        assert isinstance(P, UnrolledGaussNewton)
        recursion, spectrum, begin = P.recursion, functions.spectrum, 0
        deviations, before = Deviations.none(spectrum), left_out_gradients(problem, P.factored)
        before_inside = spectrum.coordinates(before)
        for end, parameters in zip(recursion.steps, self.parameters, strict=True):
            elsewhere = displaced(problem, {name: parameters[name].to(p) - p for name, p in problem.parameters.items()})
            after = left_out_gradients(elsewhere, P.factored)
            after_inside = spectrum.coordinates(after)
            segment = replace(recursion, learning_rates=recursion.learning_rates[begin:end], steps=[end - begin])
            kept, forced = segment_functions(functions, segment)
            fraction = (end - begin - 1) / (2 * (end - begin))
            terms = (1 - fraction, before), (fraction, after)
            inside = before_inside.lerp(after_inside, fraction)
            forces = replace(deviations, terms=terms, inside=inside)
            deviations = deviations.advanced(kept, forced, forces)
            yield View(P, elsewhere, elsewhere, [end], deviations)
            before, before_inside, begin = after, after_inside, end


def spectral_functions(P: Preconditioner) -> SpectralFunctions:
    """The functions of G that a fitted method stands for, where a trajectory can use them.

    Raises:
        UserError: where the method's further training has a velocity; `MethodFailed` where there is no
            eigendecomposition.
    """
    if not isinstance(P, UnrolledGaussNewton) or P.recursion.momentum or type(P.recursion) is not LinearisedSGD:
        raise UserError(f"path=true of {P.label} needs SGD without momentum: choose moved=both instead.")
    if not isinstance(P.P, SpectralFunctions):
        raise MethodFailed(
            f"path=true of {P.label} needs the eigendecomposition of the dual, which is larger than dual_bytes allows: "
            "raise it, or choose fewer curvature_rows."
        )
    return P.P


def segment_functions(
    functions: SpectralFunctions, segment: LinearisedSGD
) -> tuple[SpectralFunctions, SpectralFunctions]:
    """What a segment of further training keeps of a deviation, and what it makes of a constant force.

    Args:
        functions: of G, for its spectrum.
        segment: SGD without momentum, with one evaluated step, its last.

    Returns:
        I − (G + w)P_k, w the weight decay, and P_k.
    """
    sigma, decay = functions.spectrum.eigenvalues, segment.weight_decay
    forced, forced_outside = segment.filters(sigma), segment.filters(ZERO).to(sigma)
    kept, kept_outside = 1 - (sigma + decay) * forced, 1 - decay * forced_outside
    of = partial(SpectralFunctions, functions.spectrum)
    return of(kept, kept_outside), of(forced, forced_outside)


def left_out_gradients(problem: Problem, factored: bool) -> Gradients:
    """Gradients of the loss at all left-out examples.

    Args:
        problem: at any parameters.
        factored: in factors, where the network has them.

    Returns:
        The gradients, a row for each left-out example.
    """
    rows = problem.train.keep(problem.left_out.rows)
    first, *others = GradientSource(problem, factored).blocks(rows)
    return first.joined(others)
