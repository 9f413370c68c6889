"""Functions of a curvature times gradients, by polynomials: where there is no eigendecomposition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from fimo.curvature.linear_system import LinearSystem
from fimo.gradients.base import Vectors
from fimo.gradients.dense import DenseGradients
from fimo.problem import Parameters, Problem

# Functions whose products are held at once.
FEW = 4
# Coefficients below this share of a function's largest are left out.
SMALL = 1e-12


def coefficients(functions: Callable[[Tensor], Tensor], bound: float) -> Tensor:
    """Of Chebyshev polynomials of 2σ/bound − 1, whose sums are some smooth functions on [0, bound].

    Args:
        functions: of σ `[point]`, `[function, point]`, finite.
        bound: where the interval ends.

    Returns:
        `[function, degree]`, as many as are not small beside the largest.
    """
    from scipy.fft import dct  # which most runs need not wait for

    count = 16
    while True:
        angles = torch.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        chebyshev = torch.from_numpy(dct(functions(bound * (angles.cos() + 1) / 2).numpy())) / count
        chebyshev[:, 0] /= 2
        if not chebyshev.isfinite().all():
            raise ValueError(f"functions must be finite on [0, {bound:.3g}]")
        large = (chebyshev.abs() > SMALL * chebyshev.abs().amax(1, keepdim=True)).any(0)
        used = int(torch.nonzero(large).max()) + 1
        if used <= count // 2:
            return chebyshev[:, :used]
        count *= 2


class HasSystem(Protocol):
    """A curvature, dual or primal."""

    def system(self, gradients: Any) -> LinearSystem:
        """The linear system for gradients."""
        ...


@dataclass(frozen=True)
class Polynomials:
    """Functions f of a curvature C.

    Attributes:
        curvature: C.
        weights: the functions' coefficients, see `coefficients`, `[function, degree]`.
        bound: no eigenvalue of C is larger.
    """

    curvature: HasSystem
    weights: Tensor
    bound: float

    def __matmul__(self, gradients: Any) -> Expanded:
        """f(C) times each gradient."""
        return Expanded(self, self.curvature.system(gradients))

    def some(self, places: Sequence[int]) -> Polynomials:
        """Some of the functions."""
        return replace(self, weights=self.weights[list(places)])

    def vectors(self, vector: Parameters, problem: Problem) -> Iterator[Parameters]:
        """f(C) times one vector, for each function.

        Args:
            vector: by parameter.
            problem: that of the curvature.

        Yields:
            The products, by parameter.
        """
        row = DenseGradients({name: part[None] for name, part in vector.items()})
        system = self.curvature.system(row)
        total = torch.zeros(len(self.weights), problem.size, dtype=problem.dtype, device=problem.device)
        for weights, vectors in zip(self.weights.unbind(1), self.basis(system), strict=True):
            total += weights.to(total)[:, None] * vectors.T
        for flat in total:
            yield {name: block[0] for name, block in DenseGradients.of_flat(flat[None], vector).tensors.items()}

    def basis(self, system: LinearSystem) -> Iterator[Tensor]:
        """Every polynomial of C times the right-hand side of a system, one degree after another."""
        before, now = torch.tensor(0.0), system.rhs
        yield now
        for degree in range(1, self.weights.shape[1]):
            shifted = (2 / self.bound) * system.matvec(now) - now
            before, now = now, shifted if degree == 1 else 2 * shifted - before
            yield now


@dataclass(frozen=True)
class Expanded:
    """Functions of a curvature times gradients, which are multiplied out only against other gradients."""

    functions: Polynomials
    system: LinearSystem

    def inner(self, gradients: Any) -> Tensor:
        """Inner products with other gradients, `[function, row of the right-hand side, row of gradients]`."""
        if len(self.functions.weights) <= FEW:
            return torch.stack([products.inner(gradients).double() for products in self._products])
        total = torch.tensor(0.0)
        for weights, vectors in zip(self.functions.weights.unbind(1), self.functions.basis(self.system), strict=True):
            products = self.system.to_gradients(vectors).inner(gradients).double()
            total = total + weights.to(products)[:, None, None] * products
        return total

    @cached_property
    def _products(self) -> list[Vectors]:
        """Each function times the gradients, which serve all others; of many functions they would not fit."""
        rhs = self.system.rhs
        totals = [torch.zeros_like(rhs) for _ in self.functions.weights]
        for weights, vectors in zip(self.functions.weights.unbind(1), self.functions.basis(self.system), strict=True):
            for total, weight in zip(totals, weights.tolist(), strict=True):
                total.add_(vectors, alpha=weight)
        return [self.system.to_gradients(total) for total in totals]
