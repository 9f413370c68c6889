"""P = (G + λI)⁻¹, G the mean Gauss–Newton matrix, exact: one eigendecomposition in the dual serves every λ."""

from __future__ import annotations

from typing import Self

import torch

from fimo.gradients import Gradients, GradientSource, Vectors
from fimo.gradients.curvature import DUAL_BYTES
from fimo.gradients.gauss_newton_rows import GaussNewtonRows, require_memory
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.damping import Damping
from fimo.problem import Problem


class ExactGaussNewton(Preconditioner):
    """(G + λI)⁻¹ g = (g − Aᵀ(K/n + λI)⁻¹ A g / n) / λ, with G = AᵀA/n and K = A Aᵀ (Woodbury).

    What CG and LiSSA approximate. In the dual, of n·rank rows, for every network: where they don't fit, it stops.

    Args:
        label: the method's name.
        damping: λ.
        dual_bytes: bound on the memory of K.
        phi: see `Preconditioner`.
    """

    def __init__(self, label: str, damping: Damping, dual_bytes: int = DUAL_BYTES, phi: str = "raw") -> None:
        super().__init__(label, phi)
        self.damping, self.dual_bytes = damping, dual_bytes

    def fit(self, problem: Problem) -> Self:
        """The Gram of all rows and its eigendecomposition.

        Raises:
            UserError: where the Gram doesn't fit into `dual_bytes`.
        """
        require_memory(problem, self.dual_bytes, self.label)
        self.source = GradientSource(problem)
        self.dual = GaussNewtonRows.of(problem, self.source)
        self.eigenvalues, self.vectors = torch.linalg.eigh(self.dual.gram / self.dual.n)
        return self.damped(self.damping)

    def damped(self, damping: Damping) -> Self:
        """The same fit with another λ; it costs nothing but what the unit of the damping needs."""
        self.value = damping.of_curvature(self.source, self.facts)
        return self

    def __matmul__(self, gradients: Gradients) -> Vectors:
        """P times each gradient."""
        projected = self.vectors.T @ self.dual.rows.products(gradients)
        solved = self.vectors @ (projected / (self.eigenvalues.clamp(min=0) + self.value)[:, None])
        own = torch.eye(solved.shape[1], dtype=solved.dtype, device=solved.device)
        scale = 1 / self.value
        return gradients.combined(own * scale) + self.dual.rows.combined(solved.T * (-scale / self.dual.n))
