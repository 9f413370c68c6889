"""P = (G + λI)⁻¹, G the mean Gauss–Newton matrix, exact: one eigendecomposition in the dual serves every λ."""

from __future__ import annotations

from typing import Self

import torch

from fimo.curvature.gauss_newton_factor import dual_memory
from fimo.curvature.products import DUAL_BYTES
from fimo.curvature.spectrum import SpectralFunctions, Spectrum
from fimo.errors import UserError
from fimo.gradients import Gradients, GradientSource, Vectors
from fimo.preconditioners.base import Preconditioner, require_instance, require_whole
from fimo.preconditioners.damping import Damping
from fimo.problem import Problem


class ExactGaussNewton(Preconditioner):
    """(G + λI)⁻¹ g = (g − Aᵀ(K/n + λI)⁻¹ A g / n) / λ, with G = AᵀA/n and K = A Aᵀ (Woodbury).

    What CG and LiSSA approximate. Always in the dual, of n·rank rows, also where there are fewer parameters than rows;
    where it doesn't fit, it stops.

    Args:
        label: the method's name.
        damping: λ.
        dual_bytes: bound on the memory of K (and of A, where the network isn't made of linear layers).
        phi: see `Preconditioner`.
    """

    def __init__(self, label: str, damping: Damping, dual_bytes: int = DUAL_BYTES, phi: str = "raw") -> None:
        super().__init__(label, phi)
        self.damping = require_instance(Damping, f"damping of {label}", damping)
        self.dual_bytes = require_whole(f"dual_bytes of {label}", dual_bytes)

    def fit(self, problem: Problem) -> Self:
        """The Gram of all rows and its eigendecomposition.

        Raises:
            UserError: where the dual doesn't fit into `dual_bytes`.
        """
        super().fit(problem)
        self.source = GradientSource(problem)
        if (needed := dual_memory(self.source)) > self.dual_bytes:
            raise UserError(
                f"{self.label} needs {needed / 2**30:.3g} GiB for the dual of {len(problem.train)} training rows, more "
                f"than dual_bytes allows ({self.dual_bytes / 2**30:.3g} GiB): raise it, or keep fewer rows with "
                "data.train_rows."
            )
        self.spectrum = Spectrum.of(self.source)
        return self.damped(self.damping)

    def damped(self, damping: Damping) -> Self:
        """The same fit with another λ; it costs nothing but what the unit of the damping needs."""
        self.value = damping.of_curvature(self.source, self.facts)
        lost = torch.finfo(torch.float64).eps * float(self.spectrum.eigenvalues[-1]) / self.value
        if lost > 1e-6:  # (g − …)/λ is a difference of nearly equal vectors then
            self.note("digits", f"λ is so small beside G's largest eigenvalue that scores are exact to {lost:.0e} only")
        return self

    def __matmul__(self, gradients: Gradients) -> Vectors:
        """P times each gradient."""
        eigenvalues = self.spectrum.eigenvalues
        outside = eigenvalues.new_tensor([1 / self.value])
        return SpectralFunctions(self.spectrum, 1 / (eigenvalues + self.value), outside) @ gradients
