"""Functions of a curvature times gradients, by polynomials: where there is no eigendecomposition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.fft import dct
from torch import Tensor

from fimo.gradients.space import Space

# Coefficients below this share of a function's largest are left out.
SMALL = 1e-12


def coefficients(functions: Callable[[Tensor], Tensor], bound: float) -> Tensor:
    """Of Chebyshev polynomials of 2σ/bound − 1, whose sums are some smooth functions on [0, bound].

    Args:
        functions: of σ `[point]`, `[function, point]`.
        bound: where the interval ends.

    Returns:
        `[function, degree]`, as many as are not small beside the largest.
    """
    count = 16
    while True:
        angles = torch.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        found = torch.from_numpy(dct(functions(bound * (angles.cos() + 1) / 2).numpy())) / count
        found[:, 0] /= 2
        large = (found.abs() > SMALL * found.abs().amax(1, keepdim=True)).any(0)
        used = int(torch.nonzero(large).max()) + 1
        if used <= count // 2:
            return found[:, :used]
        count *= 2


@dataclass(frozen=True)
class Polynomials:
    """Functions of a curvature C times gradients, which are multiplied out only against other gradients.

    Attributes:
        space: of C, with the gradients as its start.
        weights: the functions' coefficients, see `coefficients`, `[function, degree]`.
        bound: no eigenvalue of C is larger.
    """

    space: Space
    weights: Tensor
    bound: float

    def products(self, gradients: object) -> Tensor:
        """Inner products with other gradients, `[function, row of the start, row of gradients]`."""
        before, now, total = torch.tensor(0.0), self.space.start, torch.tensor(0.0)
        for degree, weights in enumerate(self.weights.unbind(1)):
            if degree == 1:
                before, now = now, self._shifted(now)
            elif degree > 1:
                before, now = now, 2 * self._shifted(now) - before
            products = self.space.vectors(now).products(gradients)
            total = total + weights.to(products.device)[:, None, None] * products.double()
        return total

    def _shifted(self, vectors: Tensor) -> Tensor:
        return (2 / self.bound) * self.space.times(vectors) - vectors
