"""Functions of the Gauss–Newton matrix, or of another curvature, by its eigendecomposition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fimo.curvature.spectrum import Spectrum
from fimo.gradients.base import Gradients, LazyVectors, Prepared
from fimo.memory import BLOCK_BYTES
from fimo.problem import Parameters, Problem

# Functions that are multiplied out one after another.
FEW = 4


@dataclass(frozen=True)
class SpectralFunctions:
    """Functions f of G: f(G) g = f(0) g + Bᵀ U (f(σ) − f(0))/σ UᵀB g / n, B and U as in `Spectrum`.

    Attributes:
        spectrum: of G.
        filters: f(σ), `[…, eigenvalue]`, of one function or of several.
        outside: f(0), `[…, 1]`.
    """

    spectrum: Spectrum
    filters: Tensor
    outside: Tensor

    def __matmul__(self, gradients: Gradients) -> Filtered:
        """f(G) times each gradient."""
        return Filtered(self, gradients)

    def quadratic_form(self, gradients: Gradients | Prepared[Tensor]) -> Tensor:
        """gᵀ f(G) g of each gradient, `[…, gradient]`."""
        squares = self.spectrum.coordinates(gradients).square()
        return self.outside.to(squares) * gradients.norms().square().to(squares) + self.slopes @ squares

    def some(self, places: Sequence[int]) -> SpectralFunctions:
        """Some of several functions."""
        return replace(self, filters=self.filters[list(places)], outside=self.outside[list(places)])

    def vectors(self, vector: Parameters, problem: Problem) -> Iterator[Parameters]:
        """f(G) times one vector, for each of several functions.

        Args:
            vector: by parameter.
            problem: that of the spectrum.

        Yields:
            The products, by parameter.
        """
        coordinates = self.spectrum.vectors.T @ self.spectrum.image_of_vector(vector, problem)
        for outside, slope in zip(self.outside, self.slopes, strict=True):
            curved = self.spectrum.back(self.spectrum.vectors @ (slope * coordinates)[:, None], problem).tensors
            yield {name: float(outside) * part + curved[name][0] for name, part in vector.items()}

    @cached_property
    def slopes(self) -> Tensor:
        """(f(σ) − f(0))/(nσ), `[…, eigenvalue]`."""
        sigma = self.spectrum.eigenvalues
        # Along the others f(σ) is f(0), to rounding.
        inside = sigma > torch.finfo(sigma.dtype).eps * sigma[-1]
        slopes = (self.filters - self.outside.to(self.filters)) / torch.where(inside, sigma, 1.0)
        return torch.where(inside, slopes, 0.0) / self.spectrum.n


def _of_all_functions(slopes: Tensor, own: Tensor, theirs: Tensor) -> Tensor:
    """Σ_k slopes[f, k] own[k, j] theirs[k, i], `[function, row of own, row of theirs]`.

    Of many functions it is one large product with the products of all pairs of coordinates, some rows at a time.
    """
    if len(slopes) <= FEW:
        return torch.stack([(own.T * slope) @ theirs for slope in slopes])
    parts = []
    for some in own.split(max(1, BLOCK_BYTES // theirs.nbytes), 1):
        pairs = some[:, :, None] * theirs[:, None, :]
        parts.append((slopes @ pairs.flatten(1)).unflatten(1, pairs.shape[1:]))
    return torch.cat(parts, 1)


@dataclass(frozen=True)
class Filtered(LazyVectors):
    """Functions of G times gradients, which are multiplied out only against other gradients.

    Others are taken to the eigenvectors of G. Where they are more than these are with all functions, these are taken
    back from there in their place, if that takes no more memory than the eigenvectors.

    Attributes:
        functions: f.
        gradients: g.
        others: how many other gradients they are multiplied with in all, where that is known.
    """

    functions: SpectralFunctions
    gradients: Gradients
    others: int = 0

    def for_products(self, count: int) -> Filtered:
        """The same, for so many other gradients.

        Args:
            count: of the others.
        """
        return replace(self, others=count)

    def inner(self, gradients: Any) -> Tensor:
        """Inner products with other gradients, `[…, row of self, row of gradients]`."""
        spectrum, outside = self.functions.spectrum, self.functions.outside.to(self._slopes)[..., None]
        others = spectrum.prepared(gradients)
        plain, theirs = outside * self.gradients.inner(others.gradients).double(), others.made
        count = len(self._slopes) * self._own.shape[1]
        if count < self.others and count <= len(spectrum.vectors):
            return plain + (self._taken_back @ theirs).reshape(plain.shape)
        return plain + _of_all_functions(self._slopes, self._own, spectrum.vectors.T @ theirs).reshape(plain.shape)

    @cached_property
    def _taken_back(self) -> Tensor:
        """U diag(slopes) UᵀB g of each function and gradient, `[function · gradient, row of B]`."""
        return (self._slopes[:, None] * self._own.T).flatten(0, 1) @ self.functions.spectrum.vectors.T

    @property
    def _slopes(self) -> Tensor:
        """`[function, eigenvalue]`."""
        return self.functions.slopes.reshape(-1, self.functions.slopes.shape[-1])

    @cached_property
    def _own(self) -> Tensor:
        return self.functions.spectrum.coordinates(self.gradients)
