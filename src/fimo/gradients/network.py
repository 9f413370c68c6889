"""Gradients of whole networks, put together from those of their layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import Tensor

from fimo.gradients.base import Gradients
from fimo.gradients.dense import DenseGradients
from fimo.gradients.layers import FactoredGradients


def restricted(gradients: Gradients, names: Collection[str]) -> Gradients:
    """Gradients with respect to some parameters: to all of a layer's or to none.

    Args:
        gradients: with respect to more.
        names: of the parameters that are wanted.

    Returns:
        Gradients of the same form.
    """
    if isinstance(gradients, NetworkGradients):
        parts = [part for part in gradients.parts if any(name in names for name in part.names)]
        return NetworkGradients(tuple(restricted(part, names) for part in parts))
    if isinstance(gradients, DenseGradients):
        return DenseGradients({name: tensor for name, tensor in gradients.tensors.items() if name in names})
    return gradients


@dataclass(frozen=True)
class NetworkGradients(FactoredGradients):
    """Gradients of some parameters each, which together are those of all parameters.

    Attributes:
        parts: of one layer each, or dense gradients of what is in no such layer.
    """

    parts: tuple[Gradients, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameter tensors, part after part."""
        return tuple(name for part in self.parts for name in part.names)

    @property
    def held_bytes(self) -> int:
        """Memory that all parts hold, in bytes."""
        return sum(part.held_bytes for part in self.parts)

    def by_layer(self) -> Sequence[Gradients]:
        """The parts."""
        return self.parts

    def inner_per_parameter(self, other: NetworkGradients) -> dict[str, Tensor]:
        """Inner products over each parameter tensor, `[row of self, row of other]`."""
        return {
            name: product
            for mine, theirs in zip(self.parts, other.parts, strict=True)
            for name, product in mine.inner_per_parameter(theirs).items()
        }

    def inner(self, other: NetworkGradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of other]`."""
        total: Tensor | None = None
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            product = mine.inner(theirs)
            total = product if total is None else total.add_(product)
        assert total is not None
        return total

    def squares(self) -> dict[str, Tensor]:
        """Squared norms over each parameter tensor, `[row]`."""
        return {name: squares for part in self.parts for name, squares in part.squares().items()}

    def row_sums(self) -> dict[str, Tensor]:
        """Sum over all rows, by name."""
        return {name: total for part in self.parts for name, total in part.row_sums().items()}

    def row_square_sums(self) -> dict[str, Tensor]:
        """Sum over all rows of the squared entries, by name."""
        return {name: total for part in self.parts for name, total in part.row_square_sums().items()}

    def scaled(self, factors: Tensor) -> NetworkGradients:
        """Each gradient times its factor, `factors [row]`."""
        return NetworkGradients(tuple(part.scaled(factors) for part in self.parts))

    def joined(self, others: Sequence[NetworkGradients]) -> NetworkGradients:
        """The rows of these gradients, then those of `others`."""
        if not others:
            return self
        rest = zip(*(other.parts for other in others), strict=True)
        return NetworkGradients(tuple(part.joined(more) for part, more in zip(self.parts, rest, strict=True)))

    def part(self, name: str) -> Gradients:
        """The gradients of the layer that a parameter belongs to.

        Raises:
            KeyError: where no part has a parameter of that name.
        """
        for part in self.parts:
            if name in part.names:
                return part
        raise KeyError(name)
