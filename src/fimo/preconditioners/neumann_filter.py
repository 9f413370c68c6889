"""What LiSSA's recursion is on average over its batches: a function of the curvature."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fimo.preconditioners.spectral_filters import GaussNewtonFilter


class NeumannFilter(GaussNewtonFilter):
    """(1/s) Σ_{k≤T} (I − (C + λI)/s)^k = (C + λI)⁻¹ (I − (I − (C + λI)/s)^(T+1)).

    Batches of the recursion are drawn independently, so that the mean of its product over them has C in place of C_B.

    Args:
        label: the method's name.
        damping: λ, absolute.
        depth: T, steps of the recursion.
        scale: s.
        phi: see `Preconditioner`.
        of: the curvature C, see `Preconditioner.curvature_settings`.
    """

    def __init__(
        self, label: str, damping: float, depth: int, scale: float, phi: str = "raw", of: dict[str, Any] | None = None
    ) -> None:
        super().__init__(label, phi=phi, **(of or {}))
        self.value, self.depth, self.scale = damping, depth, scale

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """(1 − (1 − (σ + λ)/s)^(T+1)) / (σ + λ), `[eigenvalue]`."""
        damped = eigenvalues.double() + self.value
        return (1 - (1 - damped / self.scale) ** (self.depth + 1)) / damped
