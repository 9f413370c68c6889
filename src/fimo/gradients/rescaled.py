"""Gradients in the coordinates of a diagonal metric: D^½ has no factors, so a layer's are multiplied part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from fimo.gradients.base import Gradients
from fimo.gradients.dense import DenseGradients
from fimo.gradients.embedding import EmbeddingGradients
from fimo.gradients.layers import FactoredGradients, LayerGradients
from fimo.gradients.network import NetworkGradients
from fimo.memory import LAYER_GRADIENT_BYTES


def rescaled_name(name: str) -> str:
    """What a parameter is called in the coordinates of a metric, and in a `RescaledNetwork`."""
    return f"inside.{name}"


def rescaled(gradients: Gradients, roots: Mapping[str, Tensor]) -> Gradients:
    """D^½ g of each gradient g, in factors where these are.

    Args:
        gradients: with respect to θ.
        roots: D^½, by parameter.

    Returns:
        Gradients in the metric's coordinates.
    """
    if isinstance(gradients, NetworkGradients):
        return NetworkGradients(tuple(rescaled(part, roots) for part in gradients.parts))
    if isinstance(gradients, EmbeddingGradients):
        return gradients.rescaled(roots[gradients.weight], rescaled_name(gradients.weight))
    if isinstance(gradients, LayerGradients):
        return RescaledLayer(gradients, {name: roots[name] for name in gradients.names})
    assert isinstance(gradients, DenseGradients)
    return DenseGradients({rescaled_name(name): roots[name] * tensor for name, tensor in gradients.tensors.items()})


@dataclass(frozen=True)
class RescaledLayer(FactoredGradients):
    """D^½ times one layer's gradients.

    Their products are sums over the weight's entries, some outputs of the layer after others: its gradients as they are
    are never all in memory.

    Attributes:
        rows: the gradients with respect to θ.
        roots: D^½ of weight and bias, by name.
    """

    rows: LayerGradients
    roots: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weight and, where there is one, the bias."""
        return tuple(map(rescaled_name, self.rows.names))

    @property
    def held_bytes(self) -> int:
        """Memory of the factors, in bytes."""
        return self.rows.held_bytes

    @property
    def _diagonal(self) -> Tensor:
        """D of the weight, `[fan-out, fan-in]`."""
        return self.roots[self.rows.weight].flatten(1).square()

    def inner_per_parameter(self, other: RescaledLayer) -> dict[str, Tensor]:
        """Products of weights, and of biases."""
        weight, *bias = self.names
        result = {weight: self._weight_products(other)}
        if self.rows.bias is not None:
            diagonal = self.roots[self.rows.bias].square()
            result[bias[0]] = (self.rows.sums() * diagonal) @ other.rows.sums().T
        return result

    def _weight_products(self, other: RescaledLayer) -> Tensor:
        diagonal = self._diagonal
        mine, theirs = self.rows.sums(), other.rows.sums()
        total = mine.new_zeros(len(mine), len(theirs))
        output_bytes = (len(mine) + len(theirs)) * diagonal[0].nbytes
        for some in _slices(len(diagonal), max(1, LAYER_GRADIENT_BYTES // output_bytes)):
            plain = self.rows.matrices(some)
            weighted = (plain * diagonal[some]).flatten(1)
            total.addmm_(weighted, (plain if other is self else other.rows.matrices(some)).flatten(1).T)
        return total

    def inner(self, other: RescaledLayer) -> Tensor:
        """Inner products over weight and bias, `[row of self, row of other]`."""
        weight, *bias = self.inner_per_parameter(other).values()
        return weight.add_(bias[0]) if bias else weight

    def squares(self) -> dict[str, Tensor]:
        """Squared norms over weight and bias, `[row]`."""
        weight, *bias = self.names
        result = {weight: self.rows.weighted_squares(self._diagonal)}
        if self.rows.bias is not None:
            result[bias[0]] = (self.rows.sums() * self.roots[self.rows.bias]).square().sum(1)
        return result

    def row_sums(self) -> dict[str, Tensor]:
        """Sum over all rows."""
        return self._by_entry(self.rows.row_sums(), 1)

    def row_square_sums(self) -> dict[str, Tensor]:
        """Sum over all rows of the squared entries."""
        return self._by_entry(self.rows.row_square_sums(), 2)

    def _by_entry(self, sums: Mapping[str, Tensor], power: int) -> dict[str, Tensor]:
        """Sums times D^½, or that squared."""
        return {
            rescaled_name(name): total * self.roots[name].reshape(total.shape) ** power for name, total in sums.items()
        }

    def scaled(self, factors: Tensor) -> RescaledLayer:
        """Each row times its factor, `[row]`."""
        return replace(self, rows=self.rows.scaled(factors))

    def joined(self, others: Sequence[RescaledLayer]) -> RescaledLayer:
        """The rows of these gradients, then those of `others`, in the same metric."""
        return replace(self, rows=self.rows.joined([other.rows for other in others]))


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
