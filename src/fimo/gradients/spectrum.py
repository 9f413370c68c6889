"""Functions of the Gauss–Newton matrix by its eigendecomposition, in the dual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fimo.gradients.base import Gradients
from fimo.gradients.gauss_newton_rows import GaussNewtonRows
from fimo.gradients.source import GradientSource


@dataclass(frozen=True)
class Spectrum:
    """G = AᵀA/n by the eigendecomposition of K/n, K = AAᵀ.

    Attributes:
        dual: A, with its Gram K.
        eigenvalues: `[n·rank]`, ascending, at least 0.
        vectors: `[n·rank, n·rank]`, in columns.
    """

    dual: GaussNewtonRows
    eigenvalues: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, source: GradientSource) -> Spectrum:
        """Of all training rows."""
        dual = GaussNewtonRows.of(source)
        eigenvalues, vectors = torch.linalg.eigh(dual.gram / dual.n)
        return cls(dual, eigenvalues.clamp(min=0), vectors)

    def coordinates(self, gradients: Gradients) -> Tensor:
        """UᵀA g, `[n·rank, gradient]`: √(nσ) times the component along each eigenvector of G."""
        return self.vectors.T @ self.dual.rows.products(gradients).double()


@dataclass(frozen=True)
class Filtered:
    """Functions f of G times gradients: f(G) g = f(0) g + Aᵀ U (f(σ) − f(0))/σ UᵀA g / n.

    Attributes:
        spectrum: of G.
        gradients: g.
        filters: f(σ), `[…, n·rank]`, of one function or of several.
        outside: f(0), `[…, 1]`.
    """

    spectrum: Spectrum
    gradients: Gradients
    filters: Tensor
    outside: Tensor

    def products(self, gradients: Any) -> Tensor:
        """Inner products with other gradients, `[…, row of self, row of gradients]`."""
        spectrum, outside = self.spectrum, self.outside.to(self.filters)
        sigma = spectrum.eigenvalues
        # Along the others f(σ) is f(0), to rounding.
        inside = sigma > torch.finfo(sigma.dtype).eps * sigma[-1]
        slopes = torch.where(inside, (self.filters - outside) / torch.where(inside, sigma, 1.0), 0.0) / spectrum.dual.n
        own, theirs = spectrum.coordinates(self.gradients), spectrum.coordinates(gradients)
        plain = outside[..., None] * self.gradients.products(gradients).double()
        curved = torch.stack([(own.T * slope) @ theirs for slope in slopes.reshape(-1, len(sigma))])
        return plain + curved.reshape(plain.shape)
