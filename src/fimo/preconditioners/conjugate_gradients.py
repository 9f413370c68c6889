"""P = (C + λI)⁻¹ by conjugate gradients, all columns at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from fimo.curvature.products import LinearSystem, curvature
from fimo.curvature.roots import damping_root
from fimo.errors import UserError
from fimo.gradients import Gradients, Vectors
from fimo.gradients.diagonal_metric import AdamMetric
from fimo.memory import CHOLESKY_ROWS, DUAL_BYTES
from fimo.preconditioners.base import NO_DRAWS, Preconditioner
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.dual_inverse import DualInverse
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.layerwise_inverse import LayerwiseInverse
from fimo.preconditioners.settings import require_instance, require_metric, require_whole
from fimo.preconditioners.spectral_filters import stand_in
from fimo.problem import Problem

# The first is the default.
PRECONDITIONERS = ("none", "ekfac")
# In float32 the residual that conjugate gradients follow parts from the true one: they start anew from that.
ROUNDS = 4


class ConjugateGradients(Preconditioner):
    """Conjugate gradients for (G + λI) x = g, G the mean Gauss–Newton matrix.

    It starts from x = g/λ, which is right outside the range of G: all residuals then lie in that range, where the dual
    (of n·rank rows) takes the very same steps as the primal without losing digits.

    Args:
        label: the method's name.
        damping: λ.
        tolerance: on each column's residual, ‖g − (G + λI)x‖ ≤ tolerance·‖g‖.
        max_iterations: steps at the most; columns that miss the tolerance then are counted in a note.
        dual_bytes: bound on the memory of the dual's Gram matrix; the primal path is taken beyond it.
        phi: see `Preconditioner`.
        curvature: that stands for G, `exact`, `sampled`, `sketched` or `empirical_fisher`.
        metric: solve (D^½ G D^½ + λI) x = D^½ g in the coordinates of this metric D, over the rows that G is over;
            None or `none` for θ itself. λ0 is the mean squared gradient in the same coordinates.
        preconditioner: `ekfac`, which the primal path takes, see `LayerwiseInverse`; or `none`.
        samples: draws for each row of a sampled or sketched curvature.
        seed: of the draws.

    Raises:
        UserError: for a setting that it does not take.
    """

    added: ClassVar[Mapping[str, Any]] = {"preconditioner": "none", **NO_DRAWS}
    multiplies_quickly = False

    def __init__(
        self,
        label: str,
        damping: Damping,
        tolerance: float = 1e-5,
        max_iterations: int = 1000,
        dual_bytes: int = DUAL_BYTES,
        phi: str = "raw",
        curvature: str = "exact",
        metric: AdamMetric | str | None = None,
        preconditioner: str = PRECONDITIONERS[0],
        samples: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(label, phi)
        self.metric_settings = require_metric(f"metric of {label}", metric)
        if preconditioner not in PRECONDITIONERS:
            allowed = " or ".join(PRECONDITIONERS)
            raise UserError(f"preconditioner of {label} must be {allowed}, found {preconditioner!r}.")
        self.preconditioner = preconditioner
        self.set_curvature(curvature, samples, seed)
        if type(tolerance) not in (int, float) or not 0 < tolerance < 1:
            raise UserError(f"tolerance of {label} must be between 0 and 1, found {tolerance!r}.")
        self.damping, self.tolerance = require_instance(Damping, f"damping of {label}", damping), float(tolerance)
        self.dual_bytes = require_whole(f"dual_bytes of {label}", dual_bytes, least=0)
        self.max_iterations = require_whole(f"max_iterations of {label}", max_iterations)

    def fit(self, problem: Problem) -> Self:
        """The curvature's products, and λ."""
        super().fit(problem)
        problem = self.with_draws(problem)
        if self.metric_settings:
            self.metric = self.metric_settings.of(problem)
        self.curvature = curvature(problem, self.kind, self.dual_bytes, self.metric)
        self.factored = self.curvature.source.factored
        self.value = self.damping.of_curvature(self.curvature.source, self.diagnostics, damping_root(self.kind))
        self.approximate: LayerwiseInverse | None = None
        if self.preconditioner == "ekfac":
            if self.curvature.primal:
                self.approximate = LayerwiseInverse.of(problem, self.curvature.primal, self.value, self.metric_settings)
            else:
                self.note(
                    "preconditioner",
                    "the preconditioner ekfac had no effect, since the Gram matrix of the dual fits into memory "
                    "(dual_bytes), where none is needed",
                )
        if self.curvature.narrow:
            self.note("path", self.curvature.path)
        self.diagnostics |= {"path": self.curvature.path, "residuals": [], "iterations": 0}
        return self

    def __matmul__(self, gradients: Gradients) -> Vectors:
        """P times each gradient; each column's residual goes to `diagnostics`."""
        system = self.curvature.system(gradients)
        solution = system.rhs / self.value
        residual = -system.matvec(solution)  # g − (G + λI)g/λ
        norms = system.norms(system.rhs)
        iterations = 0
        for _ in range(ROUNDS):
            correction, taken = self._solve(system, residual, norms, self.max_iterations - iterations)
            solution, iterations = solution + correction, iterations + taken
            residual = residual - (system.matvec(correction) + self.value * correction)
            relative = system.norms(residual) / norms.clamp(min=torch.finfo(norms.dtype).tiny)
            if iterations == self.max_iterations or not (relative > self.tolerance).any():
                break
        self.diagnostics["residuals"] += relative.tolist()
        self.diagnostics["iterations"] = max(self.diagnostics["iterations"], iterations)
        self._note_residuals()
        return system.to_gradients(solution)

    def for_all_rows(self, most_rows: int) -> Preconditioner:
        """The exact (G + λI)⁻¹, over all rows where there is a dual that is quickly decomposed.

        Args:
            most_rows: see `Preconditioner.for_all_rows`.
        """
        dual = self.curvature.dual
        if dual is not None and not self.curvature.narrow and len(dual.gram) <= CHOLESKY_ROWS:
            return DualInverse(self, dual, self.value)
        return stand_in(self, self._exact, most_rows)

    def _exact(self) -> ExactGaussNewton:
        return ExactGaussNewton(
            self.label,
            Damping(self.value),
            phi=self.phi_name,
            metric=self.metric_settings,
            **self.curvature_settings,
        )

    def _note_residuals(self) -> None:
        """Note how many of all columns so far miss the tolerance."""
        residuals, iterations = self.diagnostics["residuals"], self.diagnostics["iterations"]
        if missed := sum(not residual <= 1.1 * self.tolerance for residual in residuals):
            self.note(
                "residuals",
                f"{missed} of {len(residuals)} gradients miss the relative residual {self.tolerance:g} after "
                f"{iterations} iterations, the worst with {max(residuals):.1e}: raise max_iterations or the damping",
                warn=True,
            )

    def _preconditioned(self, system: LinearSystem, residual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residual r preconditioned, z = M⁻¹r, r·r and r·z; without a preconditioner M = I."""
        square = system.inner(residual, residual)
        if self.approximate is None:
            return residual, square, square
        z = self.approximate(residual)
        return z, square, system.inner(residual, z)

    def _solve(self, system: LinearSystem, residual: Tensor, norms: Tensor, limit: int) -> tuple[Tensor, int]:
        """The solution of (G + λI) x = residual, and how many steps it took; finished columns take no part."""
        solution = torch.zeros_like(residual)
        active = torch.arange(residual.shape[1], device=residual.device)
        some, x, r = system, torch.zeros_like(residual), residual
        direction, square, decrease = self._preconditioned(some, r)
        for iteration in range(limit + 1):
            keep = square > (self.tolerance * norms[active]).square()
            if not keep.all():
                solution[:, active] = x
                active, some = active[keep], some.select(keep)
                x, r, direction, decrease = x[:, keep], r[:, keep], direction[:, keep], decrease[keep]
            if len(active) == 0 or iteration == limit:
                break
            image, squares = some.damped(direction, self.value)
            step = decrease / squares
            x, r, previous = x + step * direction, r - step * image, decrease
            z, square, decrease = self._preconditioned(some, r)
            direction = z + (decrease / previous) * direction
        solution[:, active] = x
        return solution, iteration
