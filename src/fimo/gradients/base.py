"""What the attribution equation and the preconditioners ask of a set of per-example gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import torch
from torch import Tensor

# Weights of linear combinations, `[new row, row]`: the same for all parameter tensors, or by the name of each.
Weights = Tensor | Mapping[str, Tensor]


class Vectors(Protocol):
    """Vectors in the space of the parameters, such as P times gradients: all that is asked is to multiply them."""

    def inner(self, gradients: Any) -> Tensor:
        """Inner products with gradients over all parameters, `[row of self, row of gradients]`."""
        ...


class LinearCombination(Vectors, Protocol):
    """Linear combinations of gradients, which can be added."""

    def __add__(self, other: Any) -> Self:
        """Row by row."""
        ...


class Gradients(ABC):
    """Rows g_1, g_2, … of gradients of scalars at single examples, in whatever form is cheap for the network."""

    @abstractmethod
    def inner_per_parameter(self, other: Any) -> dict[str, Tensor]:
        """Inner products over each parameter tensor by itself, by name: `[row of self, row of other]`."""

    @abstractmethod
    def inner(self, other: Any) -> Tensor:
        """Inner products over all parameters, `[row of self, row of other]`; `other` is of the same form."""

    @abstractmethod
    def squares(self) -> dict[str, Tensor]:
        """Squared Euclidean norms over each parameter tensor by itself, by name: `[row]`."""

    def norms(self) -> Tensor:
        """Euclidean norms over all parameters, `[row]`."""
        return torch.stack(list(self.squares().values())).sum(0).sqrt()

    @abstractmethod
    def scaled(self, factors: Tensor) -> Self:
        """Each row times its factor, `factors [row]`."""

    @abstractmethod
    def linear_combination(self, weights: Weights) -> LinearCombination:
        """Linear combinations of the rows."""


def coefficients_of(weights: Weights, name: str) -> Tensor:
    """The weights for one parameter tensor."""
    return weights if isinstance(weights, Tensor) else weights[name]


def raw(gradients: Gradients) -> Gradients:
    """φ(g) = g."""
    return gradients


def unit_length(gradients: Gradients) -> Gradients:
    """φ(g) = g / ‖g‖; a gradient that is exactly zero stays zero."""
    norms = gradients.norms()
    return gradients.scaled(torch.where(norms > 0, 1 / norms, 0.0))


PHI: dict[str, Callable[[Gradients], Gradients]] = {"raw": raw, "unit_length": unit_length}
