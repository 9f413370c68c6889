"""The deviations that leaving examples out makes of a run, followed through functions of the curvature."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from fimo.curvature.spectral_functions import SpectralFunctions
from fimo.curvature.spectrum import Spectrum
from fimo.gradients import DenseGradients, Gradients
from fimo.optimizers import LinearisedSGD
from fimo.preconditioners.spectral_filters import ZERO
from fimo.problem import Problem


@dataclass(frozen=True)
class LeftOutVectors:
    """Vectors u_i = w_i + BᵀU z_i, one for each left-out example, B and U as in `Spectrum`.

    Attributes:
        terms: of w, vectors of all left-out examples, each with its coefficient.
        inside: UᵀB w, `[eigenvalue, left_out]`.
        curved: z, `[eigenvalue, left_out]`.
        spectrum: of G.
    """

    terms: tuple[tuple[float, Gradients], ...]
    inside: Tensor
    curved: Tensor
    spectrum: Spectrum

    @classmethod
    def zero(cls, spectrum: Spectrum) -> LeftOutVectors:
        """Those before the first step, u = 0."""
        zero = torch.zeros(1, 1, dtype=torch.float64, device=spectrum.eigenvalues.device)
        return cls((), zero, zero, spectrum)

    @classmethod
    def of(cls, rows: Gradients, spectrum: Spectrum) -> LeftOutVectors:
        """Vectors as they are, z = 0.

        Args:
            rows: the vectors.
            spectrum: of G, in the same coordinates.
        """
        inside = spectrum.coordinates(rows)
        return cls(((1.0, rows),), inside, torch.zeros_like(inside[:1]), spectrum)

    def __add__(self, other: LeftOutVectors) -> LeftOutVectors:
        """Example by example."""
        terms = collected((*self.terms, *other.terms))
        return replace(self, terms=terms, inside=self.inside + other.inside, curved=self.curved + other.curved)

    def scaled(self, factor: float) -> LeftOutVectors:
        """All of them times a number."""
        terms = tuple((factor * weight, rows) for weight, rows in self.terms)
        return replace(self, terms=terms, inside=factor * self.inside, curved=factor * self.curved)

    def times(self, function: SpectralFunctions) -> LeftOutVectors:
        """f(G) times each, f one function of the same spectrum."""
        outside = float(function.outside)
        curved = function.filters[:, None] * self.curved + function.slopes[:, None] * self.inside
        return replace(self.scaled(outside), curved=curved)

    def inner(self, gradients: Any) -> Tensor:
        """Inner products with gradients, `[left_out, gradient]`."""
        curved = self.curved.T @ self.spectrum.coordinates(gradients)
        return sum((weight * rows.inner(gradients).double() for weight, rows in self.terms), curved)

    def explicit(self, fitted: Problem) -> DenseGradients:
        """The vectors as they are.

        Args:
            fitted: the problem whose training rows the spectrum is of, in these coordinates.

        Returns:
            A vector for each left-out example, `[left_out, *parameter shape]` by parameter.
        """
        ((weight, rows),) = self.terms
        assert isinstance(rows, DenseGradients)
        return rows.scaled(torch.full_like(self.inside[0], weight)) + self.spectrum.back(
            self.spectrum.vectors @ self.curved, fitted
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
class State:
    """What further training has made of the left-out examples so far.

    Attributes:
        deviation: u.
        velocity: v, the optimiser's mean of the gradients' deviations; None without momentum.
    """

    deviation: LeftOutVectors
    velocity: LeftOutVectors | None

    def advanced(self, recursion: LinearisedSGD, begin: int, end: int, force: LeftOutVectors) -> State:
        """The state some steps later, u and v functions of G times those before and times a constant force.

        Args:
            recursion: of the optimiser.
            begin: number of the last step before.
            end: number of the last step.
            force: the gradients of the left-out examples.

        Returns:
            The new state.
        """
        spectrum = self.deviation.spectrum
        filters = recursion.transitions(begin, end, spectrum.eigenvalues)
        outside = recursion.transitions(begin, end, ZERO).to(filters)
        function = partial(SpectralFunctions, spectrum)
        parts = (self.deviation, self.velocity, force)

        def total(target: int) -> LeftOutVectors:
            products = [
                part.times(function(filters[source, target], outside[source, target]))
                for source, part in enumerate(parts)
                if part is not None
            ]
            return reduce(operator.add, products)

        return State(total(0), None if self.velocity is None else total(1))
