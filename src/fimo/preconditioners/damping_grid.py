"""P = (G + λI)⁻¹ for several λ at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fimo.memory import DUAL_BYTES
from fimo.preconditioners.spectral_filters import GaussNewtonFilter


class DampingGrid(GaussNewtonFilter):
    """(G + λI)⁻¹ for several λ, which stand where other methods have steps: number k is λ_k.

    Args:
        label: a name.
        dampings: λ, absolute.
        curvature_rows: see `GaussNewtonFilter`.
        dual_bytes: see `GaussNewtonFilter`.
    """

    def __init__(
        self, label: str, dampings: Sequence[float], curvature_rows: int | None = None, dual_bytes: int = DUAL_BYTES
    ) -> None:
        super().__init__(label, curvature_rows, dual_bytes)
        self.dampings, self.steps = torch.tensor(dampings, dtype=torch.float64), list(range(len(dampings)))

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """1/(σ + λ), `[damping, eigenvalue]`."""
        return 1 / (eigenvalues.double() + self.dampings[:, None].to(eigenvalues.device))
