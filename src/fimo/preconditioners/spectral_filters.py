"""P = f(G) for several functions f of the mean Gauss–Newton matrix at once."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from fimo.curvature.chebyshev import Polynomials, coefficients
from fimo.curvature.gauss_newton_factor import dual_memory
from fimo.curvature.products import DUAL_BYTES, PrimalCurvature, ritz_values
from fimo.curvature.spectrum import SpectralFunctions, Spectrum
from fimo.gradients import GradientSource, Vectors
from fimo.gradients.diagonal_metric import DiagonalMetric
from fimo.preconditioners.base import Preconditioner, require_whole
from fimo.problem import Parameters, Problem

ZERO = torch.zeros(1)
# The largest Ritz value lies below the largest eigenvalue by less than this share of it.
MARGIN = 0.05


class Functions(Protocol):
    """Functions of G."""

    def __matmul__(self, gradients: Any) -> Vectors:
        """Times each gradient."""
        ...

    def single(self, place: int) -> Functions:
        """One of them."""
        ...

    def vectors(self, vector: Parameters, problem: Problem) -> Iterator[Parameters]:
        """Each times one vector; `problem` is what G was fitted to."""
        ...


class GaussNewtonFilter(Preconditioner):
    """f(G) for several f: by one eigendecomposition in the dual, of n·rank rows, or by polynomials in G (Chebyshev).

    Args:
        label: the method's name.
        curvature_rows: G is the mean over so many evenly spaced training rows; None for all.
        dual_bytes: bound on the memory of the dual; beyond it are polynomials, with products of G and all columns.
        phi: see `Preconditioner`.
    """

    def __init__(
        self, label: str, curvature_rows: int | None = None, dual_bytes: int = DUAL_BYTES, phi: str = "raw"
    ) -> None:
        super().__init__(label, phi)
        self.curvature_rows = curvature_rows
        if curvature_rows is not None:
            require_whole(f"curvature_rows of {label}", curvature_rows)
        self.dual_bytes = require_whole(f"dual_bytes of {label}", dual_bytes, least=0)

    @abstractmethod
    def filters(self, eigenvalues: Tensor) -> Tensor:
        """f(σ), `[function, eigenvalue]`."""

    def fit(self, problem: Problem) -> Self:
        """The eigendecomposition, or the polynomials."""
        return self.fit_to(problem, None)

    def fit_to(self, problem: Problem, rows: int | None) -> Self:
        """The same with G over so many evenly spaced training rows, where `curvature_rows` are not fewer."""
        super().fit(problem)
        chosen = [count for count in (rows, self.curvature_rows) if count is not None]
        some = problem.sampled(min(chosen, default=None))
        if (fitted := len(some.train)) < len(problem.train):
            self.note("rows", f"curvature over {fitted} of {len(problem.train)} training rows")
        self.metric = self._metric(problem)
        self.fitted = self.metric.rescaled(some) if self.metric else some
        source = GradientSource(self.fitted, factored=not self.metric)  # layers have factors with respect to θ only
        if dual_memory(source) <= self.dual_bytes:
            spectrum = Spectrum.of(source)
            largest, self.factored, path = float(spectrum.eigenvalues[-1]), source.factored, "dual"
            self._check(largest)
            self.P: Functions = SpectralFunctions(spectrum, self.filters(spectrum.eigenvalues), self.filters(ZERO))
        else:
            curvature = PrimalCurvature(self.fitted, "gauss_newton")
            largest, self.factored = float(ritz_values(curvature)[-1]) * (1 + MARGIN), False
            self._check(largest)  # f has to be small up to where it is interpolated
            self.P = Polynomials(curvature, coefficients(self.filters, largest), largest)
            path = f"polynomials of degree {self.P.weights.shape[1] - 1}"
        self.facts |= {"largest_eigenvalue": largest, "path": path}
        return self

    def _metric(self, problem: Problem) -> DiagonalMetric | None:
        """Of the coordinates that G is written in; `problem` has all training rows."""
        return None

    def _check(self, largest: float) -> None:
        """Refuse what has no meaning with G's largest eigenvalue."""

    def __matmul__(self, gradients: Any) -> Vectors:
        """Each function times each gradient: products have a first axis for it."""
        return self.P @ gradients

    def single(self, place: int) -> Self:
        """One of the functions, fitted; products have a first axis of 1."""
        one = copy.copy(self)
        one.P = self.P.single(place)
        return one
