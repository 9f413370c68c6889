"""P = P_t, what t steps of further training make of a left-out example's gradient on the quadratic model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from fimo.errors import UserError
from fimo.gradients import GradientSource, Vectors
from fimo.gradients.chebyshev import Polynomials, coefficients
from fimo.gradients.curvature import DUAL_BYTES, PrimalCurvature, ritz_values
from fimo.gradients.gauss_newton_rows import dual_memory
from fimo.gradients.spectrum import SpectralFunctions, Spectrum
from fimo.gradients.sums import weighted_sum
from fimo.preconditioners.base import Preconditioner, whole
from fimo.preconditioners.drift import lowered
from fimo.preconditioners.linear_recursion import LinearRecursion
from fimo.problem import Parameters, Problem

MOVED = ("none", "train", "both")
ZERO = torch.zeros(1)
# The largest Ritz value lies below the largest eigenvalue by less than this share of it.
MARGIN = 0.05


class Functions(Protocol):
    """Functions of G, one for each step."""

    def __matmul__(self, gradients: Any) -> Vectors:
        """Times each gradient."""
        ...

    def only(self, place: int) -> Functions:
        """That of one step."""
        ...

    def vectors(self, vector: Parameters, problem: Problem) -> Iterator[Parameters]:
        """Times one vector, for each step; `problem` is what G was fitted to."""
        ...


class UnrolledGaussNewton(Preconditioner):
    """P_t = η Σ_{k<t} (I − ηG)^k, G the mean Gauss–Newton matrix: scores for every amount t of further training.

    P_t is a function f_t of G (see `LinearRecursion`, which knows momentum and decay too). One eigendecomposition in
    the dual, of n·rank rows, gives it for every t at once; beyond `dual_bytes` it is a polynomial in G (Chebyshev),
    with products of G and all columns. t = 1 is Grad-Dot; t → ∞ is the undamped influence function. Nothing is left to
    choose. It neglects how G and the gradients change on the way, that a batch's G isn't that of all rows, clipping of
    gradients, and everything of second order in the left-out example's weight.

    Gradients may be taken where further training has got to, which P_t estimates too: θ_f + Δ_t, Δ_t = −P_t ∇R(θ_f), R
    the mean training loss. Where that would raise R, so much of the way is gone as still lowers it.

    Args:
        label: the method's name.
        moved: which gradients are taken at θ_f + Δ_t: `none`, `train` (arXiv 2412.03906, Proposition 1) or `both`.
        curvature_rows: G is the mean over so many evenly spaced training rows; None for all.
        dual_bytes: bound on the memory of the dual; polynomials are used beyond it.
        phi: see `Preconditioner`.
    """

    unrolled = True

    def __init__(
        self,
        label: str,
        moved: str = "none",
        curvature_rows: int | None = None,
        dual_bytes: int = DUAL_BYTES,
        phi: str = "raw",
    ) -> None:
        super().__init__(label, phi)
        self.curvature_rows = curvature_rows
        if curvature_rows is not None:
            whole(f"curvature_rows of {label}", curvature_rows)
        if moved not in MOVED:
            raise UserError(f"moved of {label} must be one of {', '.join(MOVED)}, found {moved!r}.")
        self.moved = moved
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
        self.fitted = problem.sampled(self.curvature_rows)
        if (fitted := len(self.fitted.train)) < len(problem.train):
            self.note("rows", f"curvature over {fitted} of {len(problem.train)} training rows")
        problem = self.fitted
        source = GradientSource(problem)
        if dual_memory(source) <= self.dual_bytes:
            spectrum = Spectrum.of(source)
            largest, self.factored, path = float(spectrum.eigenvalues[-1]), source.factored, "dual"
            self._check(largest)
            self.P: Functions = SpectralFunctions(spectrum, self.filters(spectrum.eigenvalues), self.filters(ZERO))
        else:
            curvature = PrimalCurvature(problem, "gauss_newton")
            largest, self.factored = float(ritz_values(curvature)[-1]) * (1 + MARGIN), False
            self._check(largest)  # f_t has to be small up to where it is interpolated
            self.P = Polynomials(curvature, coefficients(self.filters, largest), largest)
            path = f"polynomials of degree {self.P.weights.shape[1] - 1}"
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
        return self.P @ gradients

    def views(self, problem: Problem) -> Iterator[tuple[Self, Problem, Problem]]:
        """All steps at once at θ_f; one after another where gradients are moved."""
        if self.moved == "none":
            yield from super().views(problem)
            return
        shares: list[float] = []
        for place, drift in enumerate(self._drifts(problem)):
            there, share = lowered(problem, drift, self.recursion.weight_decay)
            shares.append(share)
            one = copy.copy(self)
            one.P = self.P.only(place)
            yield one, there if self.moved == "both" else problem, there
        self.facts |= {"share_of_drift": shares}
        if short := sum(share < 1 for share in shares):
            self.note(
                "drift",
                f"the estimated drift raises the training loss after {short} of {len(shares)} evaluated "
                f"steps, where as little as {min(shares):.2g} of the way was gone",
            )

    def _drifts(self, problem: Problem) -> Iterator[Parameters]:
        """Δ_t for every step."""
        n, decay = len(problem.train), self.recursion.weight_decay
        pull = weighted_sum(problem, torch.full((n,), 1 / n, dtype=torch.float64))
        self.facts |= {"mean_gradient_norm": sum(float(part.square().sum()) for part in pull.values()) ** 0.5}
        pull = {name: part + decay * problem.parameters[name] for name, part in pull.items()}
        for moved in self.P.vectors(pull, self.fitted):
            yield {name: -part for name, part in moved.items()}


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


class DampingGrid(MatchedGaussNewton):
    """P = (G + λI)⁻¹ for several λ at once, which stand where other methods have steps.

    Args:
        label: a name.
        dampings: λ, absolute.
        dual_bytes: see `UnrolledGaussNewton`.
    """

    def __init__(self, label: str, dampings: Sequence[float], dual_bytes: int = DUAL_BYTES) -> None:
        super().__init__(label, dual_bytes=dual_bytes)
        self.dampings, self.steps = torch.tensor(dampings, dtype=torch.float64), list(range(len(dampings)))

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """1/(σ + λ), `[damping, eigenvalue]`."""
        return 1 / (eigenvalues.double() + self.dampings[:, None].to(eigenvalues.device))
