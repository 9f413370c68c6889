"""P = (C + λI)⁻¹ by one Cholesky decomposition in the dual: what conjugate gradients come to, for all rows at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fimo.curvature.gauss_newton_factor import GaussNewtonFactor
from fimo.gradients import Gradients, Vectors
from fimo.preconditioners.base import Preconditioner


class DualInverse(Preconditioner):
    """(AᵀA/n + λI)⁻¹ = (I − Aᵀ(AAᵀ + nλI)⁻¹A)/λ, with the Cholesky factor L of AAᵀ + nλI.

    Args:
        method: fitted, whose φ, coordinates and form of gradients it has.
        dual: A with its Gram AAᵀ, in float64.
        damping: λ.
    """

    def __init__(self, method: Preconditioner, dual: GaussNewtonFactor, damping: float) -> None:
        super().__init__(method.label, method.phi_name)
        self.metric, self.factored, self.dual, self.damping = method.metric, method.factored, dual, damping
        shifted = dual.gram.clone()
        shifted.diagonal().add_(dual.n * damping)
        self.factor = torch.linalg.cholesky(shifted)

    def __matmul__(self, gradients: Gradients) -> Vectors:
        """P times each gradient."""
        solved = torch.cholesky_solve(self._projected(gradients), self.factor)
        own = torch.eye(solved.shape[1], dtype=solved.dtype, device=solved.device) / self.damping
        return self.dual.rows.linear_combination(-solved.T / self.damping) + gradients.linear_combination(own)

    def quadratic_form(self, gradients: Any) -> Tensor:
        """(‖g‖² − ‖L⁻¹ A g‖²)/λ of each g, `[row]`."""
        solved = torch.linalg.solve_triangular(self.factor, self._projected(gradients), upper=False)
        squares = gradients.norms().square().to(solved)
        return (squares - solved.square().sum(0)) / self.damping

    def _projected(self, gradients: Any) -> Tensor:
        return self.dual.rows.inner(gradients).to(self.dual.gram.dtype)
