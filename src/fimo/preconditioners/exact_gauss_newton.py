"""P = (C + λI)⁻¹, exact: one eigendecomposition serves every λ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from fimo.errors import MethodFailed
from fimo.gradients.diagonal_metric import AdamMetric, DiagonalMetric
from fimo.memory import DUAL_BYTES
from fimo.preconditioners.base import NO_DRAWS
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.settings import require_instance, require_metric
from fimo.preconditioners.spectral_filters import GaussNewtonFilter
from fimo.problem import Problem


class ExactGaussNewton(GaussNewtonFilter):
    """(C + λI)⁻¹, the filter 1/(σ + λ) of a curvature's eigenvalues σ; what CG and LiSSA approximate.

    It is computed in the dual, of n·rank rows, or over the parameters where these are fewer. Where neither fits into
    `dual_bytes`, `fit` raises `MethodFailed`.

    Args:
        label: the method's name.
        damping: λ.
        dual_bytes: bound on the memory of the dual's Gram matrix, or of C.
        phi: see `Preconditioner`.
        curvature: C, `exact`, `sampled`, `sketched` or `empirical_fisher`.
        metric: (D^½ C D^½ + λI)⁻¹ in the coordinates of this metric D; None or `none` for θ itself.
        samples: draws for each row of a sampled or sketched curvature.
        seed: of the draws.
    """

    added = NO_DRAWS

    def __init__(
        self,
        label: str,
        damping: Damping,
        dual_bytes: int = DUAL_BYTES,
        phi: str = "raw",
        curvature: str = "exact",
        metric: AdamMetric | str | None = None,
        samples: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(label, None, dual_bytes, phi, curvature, samples, seed)
        self.metric_settings = require_metric(f"metric of {label}", metric)
        self.damping = require_instance(Damping, f"damping of {label}", damping)

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """1/(σ + λ), `[eigenvalue]`."""
        return 1 / (eigenvalues.double() + self.value)

    def _metric(self, problem: Problem) -> DiagonalMetric | None:
        """That of the settings."""
        return self.metric_settings.of(problem) if self.metric_settings else None

    def damped(self, damping: Damping) -> Self:
        """The same fit with another λ; it costs nothing but what the unit of the damping needs."""
        self._set_value(damping, float(self.spectrum.eigenvalues[-1]))
        self._apply_filters()
        return self

    def _set_value(self, damping: Damping, largest: float) -> None:
        self.value = damping.of_curvature(self.source, self.diagnostics, self.root)
        lost = torch.finfo(torch.float64).eps * largest / self.value
        if lost > 1e-6:  # (g − …)/λ is a difference of nearly equal vectors then
            self.note("digits", f"λ is so small beside G's largest eigenvalue that scores are exact to {lost:.0e} only")

    def _check(self, largest: float) -> None:
        """λ is known before the filters are."""
        self._set_value(self.damping, largest)

    def _fit_polynomials(self, needed: int) -> None:
        """Refuse: there is no polynomial of small degree for a small λ.

        Raises:
            MethodFailed: always.
        """
        raise MethodFailed(
            f"{self.label} needs {needed / 2**30:.3g} GiB for the dual of {len(self.fitted.train)} training rows, "
            f"more than dual_bytes allows ({self.dual_bytes / 2**30:.3g} GiB): raise it, or keep fewer rows with "
            "data.train_rows."
        )


class DampingGrid(GaussNewtonFilter):
    """(G + λI)⁻¹ for several λ, which stand where other methods have steps: number k is λ_k.

    Args:
        label: a name.
        dampings: λ, absolute.
        curvature_rows: see `GaussNewtonFilter`.
        dual_bytes: see `GaussNewtonFilter`.
        curvature: see `GaussNewtonFilter`.
    """

    def __init__(
        self,
        label: str,
        dampings: Sequence[float],
        curvature_rows: int | None = None,
        dual_bytes: int = DUAL_BYTES,
        curvature: str = "exact",
    ) -> None:
        super().__init__(label, curvature_rows, dual_bytes, curvature=curvature)
        self.dampings, self.steps = torch.tensor(dampings, dtype=torch.float64), list(range(len(dampings)))

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """1/(σ + λ), `[damping, eigenvalue]`."""
        return 1 / (eigenvalues.double() + self.dampings[:, None].to(eigenvalues.device))
