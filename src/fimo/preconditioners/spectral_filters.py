"""P = f(G) for functions f of the mean Gauss–Newton matrix, or of another curvature: one or several at once."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from fimo.curvature.chebyshev import Polynomials, coefficients
from fimo.curvature.gauss_newton_factor import GaussNewtonFactor, gram_bytes
from fimo.curvature.products import PrimalCurvature, ritz_values
from fimo.curvature.roots import damping_root
from fimo.curvature.spectral_functions import SpectralFunctions
from fimo.curvature.spectrum import DualSpectrum, PrimalSpectrum, Spectrum, is_smaller_in_parameters
from fimo.gradients import GradientSource, Vectors
from fimo.gradients.diagonal_metric import DiagonalMetric
from fimo.memory import DUAL_BYTES
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.settings import require_whole
from fimo.problem import Parameters, Problem

ZERO = torch.zeros(1)
# Of polynomials that take the place of a decomposition.
MOST_DEGREES = 128
# The largest Ritz value lies below the largest eigenvalue by less than this share of it.
MARGIN = 0.05


class Functions(Protocol):
    """Functions of G."""

    def __matmul__(self, gradients: Any) -> Vectors:
        """Times each gradient."""
        ...

    def some(self, places: Sequence[int]) -> Functions:
        """Some of them."""
        ...

    def vectors(self, vector: Parameters, problem: Problem) -> Iterator[Parameters]:
        """Each times one vector; `problem` is what G was fitted to.

        Args:
            vector: by parameter.
            problem: what G was fitted to.
        """
        ...


class GaussNewtonFilter(Preconditioner):
    """f(G) for one f or several: by one eigendecomposition, or by polynomials (Chebyshev).

    It is that of the dual, of n·rank rows, or of G itself where there are fewer parameters.

    Args:
        label: the method's name.
        curvature_rows: G is the mean over so many evenly spaced training rows; None for all.
        dual_bytes: bound on the memory of the dual's Gram, or of G; polynomials, products of G and columns, take less.
        phi: see `Preconditioner`.
        curvature: that stands for G, `exact`, `sampled`, `sketched` or `empirical_fisher`.
        samples: draws for each row of a sampled or sketched curvature.
        seed: of the draws.

    Attributes:
        most_rows: of a matrix that is decomposed; of a larger dual there are polynomials of small degree, which cost
            little for few gradients. None decomposes each that fits into memory.
        dense: whether gradients are taken as they are where they have factors too.
    """

    P: Functions
    dense = False

    def __init__(
        self,
        label: str,
        curvature_rows: int | None = None,
        dual_bytes: int = DUAL_BYTES,
        phi: str = "raw",
        curvature: str = "exact",
        samples: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(label, phi)
        self.curvature_rows = curvature_rows
        if curvature_rows is not None:
            require_whole(f"curvature_rows of {label}", curvature_rows)
        self.dual_bytes = require_whole(f"dual_bytes of {label}", dual_bytes, least=0)
        self.set_curvature(curvature, samples, seed)
        self.root = damping_root(self.kind)
        self.places: Sequence[int] | None = None
        self.most_rows: int | None = None

    @abstractmethod
    def filters(self, eigenvalues: Tensor) -> Tensor:
        """f(σ), `[eigenvalue]`, or `[function, eigenvalue]` of several functions."""

    def fit(self, problem: Problem) -> Self:
        """The eigendecomposition, or the polynomials."""
        return self.fit_to(problem, None)

    def fit_to(self, problem: Problem, rows: int | None) -> Self:
        """The same with G over so many evenly spaced training rows, where `curvature_rows` are not fewer.

        Args:
            problem: with all training rows.
            rows: see `Preconditioner.fit_to`.

        Returns:
            Itself.
        """
        super().fit(problem)
        self.places = None
        bounds = [count for count in (rows, self.curvature_rows) if count is not None]
        some = problem.sampled(min(bounds, default=None))
        if (fitted := len(some.train)) < len(problem.train):
            self.note("rows", f"curvature over {fitted} of {len(problem.train)} training rows")
        self.metric = self._metric(problem)
        some = self.with_draws(some)
        self.fitted = self.metric.rescaled(some) if self.metric else some
        self.source = GradientSource(some, not self.dense, coordinates=self.metric.gradients if self.metric else None)
        kind: type[Spectrum] = DualSpectrum
        if self._decomposes_G(some):
            kind, self.source = PrimalSpectrum, GradientSource(some, False, coordinates=self.source.coordinates)
        elif (needed := gram_bytes(self.source, root=self.root)) > self.dual_bytes:
            self._fit_polynomials(needed)
            return self
        elif self._by_dual_polynomials():
            return self
        self.spectrum, self.factored = kind.of(self.source, self.root, self.dual_bytes), self.source.factored
        largest = float(self.spectrum.eigenvalues[-1])
        path = "dual" if kind is DualSpectrum else "primal"
        self.diagnostics |= {"largest_eigenvalue": largest, "path": path}
        self._check(largest)
        self._apply_filters()
        return self

    def _decomposes_G(self, some: Problem) -> bool:
        """Whether G itself is smaller than the dual, and its decomposition takes no longer than it may."""
        fits = some.size**2 * torch.float64.itemsize <= self.dual_bytes
        quick = self.most_rows is None or some.size <= self.most_rows
        return fits and quick and is_smaller_in_parameters(self.source, self.root)

    def _by_dual_polynomials(self) -> bool:
        """f(G) by polynomials in the dual, where its decomposition would take minutes and their degree is small."""
        rows = len(self.fitted.train) * self.source.scalars(self.root)
        if self.most_rows is None or rows <= self.most_rows:
            return False
        dual = GaussNewtonFactor.of(self.source, root=self.root, most_bytes=self.dual_bytes)
        largest = dual.largest_eigenvalue() * (1 + MARGIN)
        self._check(largest)
        weights = coefficients(lambda eigenvalues: torch.atleast_2d(self.filters(eigenvalues)), largest)
        if weights.shape[1] > MOST_DEGREES:
            return False
        self.P, self.factored = Polynomials(dual, weights, largest), self.source.factored
        path = f"polynomials of degree {weights.shape[1] - 1} in the dual"
        self.diagnostics |= {"largest_eigenvalue": largest, "path": path}
        return True

    def _apply_filters(self) -> None:
        """f(G) by the eigendecomposition."""
        filters, outside = self.filters(self.spectrum.eigenvalues), self.filters(ZERO)
        self.P = SpectralFunctions(self.spectrum, filters, outside)

    def _fit_polynomials(self, needed: int) -> None:
        """f(G) where the dual, which needs so many bytes, doesn't fit."""
        curvature, self.factored = PrimalCurvature(self.fitted, self.kind), False
        largest = float(ritz_values(curvature)[-1]) * (1 + MARGIN)
        self._check(largest)  # f has to be small up to where it is interpolated
        self.P = Polynomials(curvature, coefficients(self.filters, largest), largest)
        degree = self.P.weights.shape[1] - 1
        self.diagnostics |= {"largest_eigenvalue": largest, "path": f"polynomials of degree {degree}"}

    def _metric(self, problem: Problem) -> DiagonalMetric | None:
        """Of the coordinates that G is written in; `problem` has all training rows."""
        return None

    def _check(self, largest: float) -> None:
        """Refuse what has no meaning with G's largest eigenvalue."""

    def __matmul__(self, gradients: Any) -> Vectors:
        """Each function times each gradient: products have a first axis for it."""
        return self.P @ gradients

    @property
    def multiplies_quickly(self) -> bool:  # type: ignore[override]
        """By an eigendecomposition, and not by polynomials."""
        return isinstance(self.P, SpectralFunctions)

    def for_both(self, gradients: Any) -> Any:
        """With A g of each, where G is decomposed."""
        return self.P.spectrum.prepared(gradients) if isinstance(self.P, SpectralFunctions) else gradients

    def quadratic_form(self, gradients: Any) -> Tensor:
        """φ(g)ᵀ f(G) φ(g) of each row, `[row]`, or `[function, row]` of several functions."""
        if isinstance(self.P, SpectralFunctions):
            return self.P.quadratic_form(gradients)
        return super().quadratic_form(gradients)

    def for_all_rows(self, most_rows: int) -> Preconditioner:
        """The same, by an eigendecomposition over fewer rows where there are polynomials in its place.

        Args:
            most_rows: see `Preconditioner.for_all_rows`.

        Returns:
            A fitted one.
        """
        if self.multiplies_quickly:
            return self
        other = stand_in(self, lambda: copy.copy(self), most_rows)
        return other if self.places is None else other.some(self.places)

    def some(self, places: Sequence[int]) -> Self:
        """Some of the functions, fitted; products have a first axis for them."""
        other = copy.copy(self)
        other.P, other.places = self.P.some(places), list(places)
        return other


def stand_in(method: Preconditioner, make: Callable[[], GaussNewtonFilter], most_rows: int) -> GaussNewtonFilter:
    """A function of G in place of a method whose products cost a solution each, fitted once; a note says of how much.

    Args:
        method: fitted.
        make: the function, not fitted.
        most_rows: rows of its dual at the most, n·rank of n training rows.

    Returns:
        The function, fitted to all training rows that the method has, or to as many evenly spaced ones as may be.
    """
    if most_rows not in method.stand_ins:
        other, train = make(), method.problem.train
        rank = GradientSource(other.with_draws(method.problem.sampled(1))).scalars(other.root)
        other.fit_to(method.problem, max(1, most_rows // rank))
        method.stand_ins[most_rows] = other
        if (fitted := len(other.fitted.train)) < len(train):
            method.note("self-influence", f"self-influence with curvature over {fitted} of {len(train)} training rows")
    return method.stand_ins[most_rows]
