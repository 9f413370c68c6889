"""P = P_t, what t steps of further training make of a left-out example's gradient on the quadratic model."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from fimo.errors import UserError
from fimo.gradients import GradientSource, Vectors
from fimo.gradients.chebyshev import Polynomials, coefficients
from fimo.gradients.curvature import DUAL_BYTES, PrimalCurvature, ritz_values
from fimo.gradients.gauss_newton_rows import dual_memory
from fimo.gradients.spectrum import Filtered, Spectrum
from fimo.preconditioners.base import Preconditioner, whole
from fimo.preconditioners.linear_recursion import LinearRecursion
from fimo.problem import Problem

# The largest Ritz value lies below the largest eigenvalue by less than this share of it.
MARGIN = 0.05


class UnrolledGaussNewton(Preconditioner):
    """P_t = η Σ_{k<t} (I − ηG)^k, G the mean Gauss–Newton matrix: scores for every amount t of further training.

    P_t is a function f_t of G (see `LinearRecursion`, which knows momentum and decay too). One eigendecomposition in
    the dual, of n·rank rows, gives it for every t at once; beyond `dual_bytes` it is a polynomial in G (Chebyshev),
    with products of G and all columns. t = 1 is Grad-Dot; t → ∞ is the undamped influence function. Nothing is left to
    choose. It neglects how G and the gradients change on the way, that a batch's G isn't that of all rows, clipping of
    gradients, and everything of second order in the left-out example's weight.

    Args:
        label: the method's name.
        dual_bytes: bound on the memory of the dual; polynomials are used beyond it.
        phi: see `Preconditioner`.
    """

    unrolled = True

    def __init__(self, label: str, dual_bytes: int = DUAL_BYTES, phi: str = "raw") -> None:
        super().__init__(label, phi)
        self.dual_bytes = whole(f"dual_bytes of {label}", dual_bytes, least=0)

    def along(self, recursion: LinearRecursion) -> Self:
        """Set what further training does, before `fit`."""
        self.recursion, self.steps = recursion, list(recursion.steps)
        return self

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """f_t(σ), `[step, eigenvalue]`."""
        return self.recursion.filters(eigenvalues)

    def fit(self, problem: Problem) -> Self:
        """The eigendecomposition, or the polynomials.

        Raises:
            UserError: where further training would diverge, along the eigenvector of G's largest eigenvalue.
        """
        super().fit(problem)
        self.dual: Spectrum | None = None
        source = GradientSource(problem)
        if dual_memory(source) <= self.dual_bytes:
            self.dual = Spectrum.of(source)
            largest, self.factored = float(self.dual.eigenvalues[-1]), source.factored
        else:
            self.curvature = PrimalCurvature(problem, "gauss_newton")
            largest, self.factored = float(ritz_values(self.curvature)[-1]), False
            self.bound = largest * (1 + MARGIN)
            self.weights = coefficients(self.filters, self.bound)
        self._check(largest)
        path = "dual" if self.dual else f"polynomials of degree {self.weights.shape[1] - 1}"
        self.facts |= {"largest_eigenvalue": largest, "path": path}
        return self

    def _check(self, largest: float) -> None:
        if self.recursion.growth(largest) >= 1 and largest > 0:
            rate = float(self.recursion.rates.max())
            raise UserError(
                f"{self.label} needs further training that is stable, but with optimizer.lr = η = {rate:.3g} and G's "
                f"largest eigenvalue σ = {largest:.3g}, ησ = {rate * largest:.3g} (below 2 without momentum): choose a "
                "smaller optimizer.lr."
            )

    def __matmul__(self, gradients: Any) -> Vectors:
        """P_t times each gradient, for every step: products have a first axis `step`."""
        if self.dual is None:
            return Polynomials(self.curvature.space(gradients), self.weights, self.bound)
        return Filtered(self.dual, gradients, self.filters(self.dual.eigenvalues), self.filters(torch.zeros(1)))


class MatchedGaussNewton(UnrolledGaussNewton):
    """P_t = (G + λI)⁻¹ with the damping of so much further training: λ = 1/(ηt), so that P_t of σ = 0 is ηt as well.

    With momentum, decay or a schedule of rates 1/λ is what a pull of 1 comes to where there is no curvature.
    """

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """1/(σ + 1/(ηt)), `[step, eigenvalue]`."""
        reach = self.recursion.filters(eigenvalues.new_zeros(1))
        return reach / (1 + eigenvalues.double() * reach)

    def _check(self, largest: float) -> None:
        """It exists for every η."""
