"""What the attribution equation asks of a set of per-example gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

import torch
from torch import Tensor


class Gradients(Protocol):
    """Gradients of the loss at several examples, g_1, g_2, …, in whatever form is cheap for the network."""

    def products(self, other: Any) -> Tensor:
        """Inner products g_j · g_i over all parameters, `[row of self, row of other]`; `other` is of the same form."""
        ...

    def norms(self) -> Tensor:
        """Euclidean norms, `[row]`."""
        ...

    def scaled(self, factors: Tensor) -> Self:
        """Each gradient times its factor, `factors [row]`."""
        ...


def raw(gradients: Gradients) -> Gradients:
    """φ(g) = g."""
    return gradients


def unit_length(gradients: Gradients) -> Gradients:
    """φ(g) = g / ‖g‖; a gradient that is exactly zero stays zero."""
    norms = gradients.norms()
    return gradients.scaled(torch.where(norms > 0, 1 / norms, 0.0))


PHI: dict[str, Callable[[Gradients], Gradients]] = {"raw": raw, "unit_length": unit_length}
