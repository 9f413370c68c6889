"""Per-example gradients in any form: what the attribution equation and the preconditioners need of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

# Of linear combinations, `[new row, row]`: the same for all parameter tensors, or by the name of each.
Coefficients = Tensor | Mapping[str, Tensor]
Made = TypeVar("Made")


class Vectors(Protocol):
    """Vectors in the space of the parameters, such as P times gradients, that can be multiplied with gradients."""

    def inner(self, gradients: Any) -> Tensor:
        """Inner products with gradients over all parameters, `[row of self, row of gradients]`."""
        ...


class LazyVectors(Vectors, ABC):
    """Vectors of which products have several forms; the cheapest depends on how many gradients they are taken with."""

    @abstractmethod
    def for_products(self, count: int) -> Vectors:
        """The same vectors, for products with so many gradients in all, the same but for rounding.

        Args:
            count: of the gradients that they are going to be multiplied with.
        """


def for_products(vectors: Vectors, count: int) -> Vectors:
    """The same vectors in the form in which products with so many gradients take the fewest operations.

    Args:
        vectors: of any form.
        count: of the gradients that they are going to be multiplied with.

    Returns:
        Vectors with the same products, but for rounding.
    """
    return vectors.for_products(count) if isinstance(vectors, LazyVectors) else vectors


class LinearCombination(Vectors, Protocol):
    """Linear combinations of gradients, which can be added."""

    def __add__(self, other: Any) -> Self:
        """Row by row."""
        ...


class Gradients(ABC):
    """Rows g_1, g_2, … of gradients of scalars at single examples, in whatever form is cheap for the network."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of gradients."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the parameter tensors that are differentiated by."""

    @property
    @abstractmethod
    def held_bytes(self) -> int:
        """Memory that the rows hold, in bytes."""

    def by_layer(self) -> Sequence[Gradients]:
        """The same gradients with respect to some parameters each, so that not all are as they are at once."""
        return (self,)

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
    def row_sums(self) -> dict[str, Tensor]:
        """Sum over all rows, by the parameter's name, its entries in the order that the parameter has them."""

    @abstractmethod
    def row_square_sums(self) -> dict[str, Tensor]:
        """Sum over all rows of the squared entries, as `row_sums`."""

    @abstractmethod
    def scaled(self, factors: Tensor) -> Self:
        """Each row times its factor, `factors [row]`."""

    @abstractmethod
    def joined(self, others: Sequence[Any]) -> Self:
        """The rows of these gradients, then those of `others`, which are of the same form."""

    @abstractmethod
    def linear_combination(self, coefficients: Coefficients) -> LinearCombination:
        """Linear combinations of the rows, `coefficients [new row, row]`."""


class ExplicitGradients(Gradients):
    """Gradients that can be written out: as they are, some rows at a time."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Entries of one gradient."""

    @property
    @abstractmethod
    def pair_operations(self) -> float:
        """Multiplications that an inner product of two gradients of this form takes, on average."""

    @abstractmethod
    def written(self) -> Iterator[dict[str, Tensor]]:
        """The gradients as they are, some rows at a time or all: by parameter tensor, `[row, entry]`."""


@dataclass(frozen=True)
class Prepared(Generic[Made]):
    """Gradients, and what several products with them begin with, so that it is made once.

    Attributes:
        gradients: as they are.
        made: of them.
    """

    gradients: Gradients
    made: Made

    def norms(self) -> Tensor:
        """Euclidean norms over all parameters, `[row]`."""
        return self.gradients.norms()


def joined_blocks(blocks: Iterable[Gradients], most_bytes: float, at_most: float) -> Iterator[Gradients]:
    """Blocks of gradients, as many as one as may be held.

    Args:
        blocks: one after another; each by itself may be larger.
        most_bytes: that they hold together.
        at_most: number of gradients.

    Returns:
        The blocks, which are made when they are asked for.
    """
    some: list[Gradients] = []
    for block in blocks:
        count, held = sum(map(len, some)) + len(block), sum(one.held_bytes for one in some) + block.held_bytes
        if some and (held > most_bytes or count > at_most):
            yield some[0].joined(some[1:])
            some = []
        some.append(block)
    yield some[0].joined(some[1:])


def coefficients_of(coefficients: Coefficients, name: str) -> Tensor:
    """The coefficients for one parameter tensor.

    Args:
        coefficients: `[new row, row]`, the same for all parameter tensors or by name.
        name: of the parameter tensor.

    Returns:
        `[new row, row]`.
    """
    return coefficients if isinstance(coefficients, Tensor) else coefficients[name]


def raw(gradients: Gradients) -> Gradients:
    """φ(g) = g."""
    return gradients


def unit_length(gradients: Gradients) -> Gradients:
    """φ(g) = g / ‖g‖; a gradient that is exactly zero stays zero."""
    norms = gradients.norms()
    return gradients.scaled(torch.where(norms > 0, 1 / norms, 0.0))


PHI: dict[str, Callable[[Gradients], Gradients]] = {"raw": raw, "unit_length": unit_length}
