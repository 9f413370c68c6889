"""Gradients of one layer at several examples, in factors, without any parameter-sized tensor.

The gradient of one example with respect to a linear layer's weight is a sum over the places where the layer is applied
(one, or one for each token) of outer products δ aᵀ, δ the loss gradient at the layer's output and a its input; with
respect to the bias it is the sum of δ. An embedding is a linear layer whose inputs are one-hot.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from fimo.gradients.base import Gradients, Weights, weights_of

# Products of two sets of places are made in pieces that fit into so many bytes.
PIECE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Combination:
    """Sum of linear combinations of gradients, which has no factors of its own: kept as rows and weights."""

    terms: tuple[tuple[Gradients, Weights], ...]

    def products(self, gradients: Gradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of gradients]`."""
        return torch.stack([_weighted(rows, weights, gradients) for rows, weights in self.terms]).sum(0)

    def __add__(self, other: Combination) -> Combination:
        """Row by row."""
        return Combination(self.terms + other.terms)


def _weighted(rows: Gradients, weights: Weights, gradients: Gradients) -> Tensor:
    if isinstance(weights, Tensor):
        return weights @ rows.products(gradients).to(weights.dtype)
    products = rows.tensor_products(gradients)
    return torch.stack([weights_of(weights, name) @ product for name, product in products.items()]).sum(0)


class FactoredGradients(Gradients):
    """Gradients that stay in factors: combinations of them are kept as rows and weights."""

    def combined(self, weights: Weights) -> Combination:
        """Linear combinations of the rows, weights `[new row, row]`; nothing is computed until they are multiplied."""
        return Combination(((self, weights),))


@dataclass(frozen=True)
class LayerGradients(FactoredGradients):
    """Gradients of one layer.

    Attributes:
        weight: name of the weight.
        bias: name of the bias, or None.
    """

    weight: str
    bias: str | None

    @abstractmethod
    def matrices(self) -> Tensor:
        """The weight's gradients as they are, `[row, fan-out, fan-in]`."""

    @abstractmethod
    def rotated_squares(self, left: Tensor, right: Tensor) -> Tensor:
        """Sum over rows of the squared entries of leftᵀ G right; G is the weight's gradient, then the bias's column.

        Args:
            left: `[fan-out, fan-out]`.
            right: `[fan-in, fan-in]`, or one more each where there is a bias.
        """


@dataclass(frozen=True)
class MatrixLayer(LayerGradients):
    """A linear layer that is applied to a matrix, so that each gradient is one outer product.

    Attributes:
        inputs: a, `[row, fan-in]`.
        deltas: δ, `[row, fan-out]`.
    """

    inputs: Tensor
    deltas: Tensor

    def tensor_products(self, other: MatrixLayer) -> dict[str, Tensor]:
        """(a·a')(δ·δ') for the weight, δ·δ' for the bias."""
        inputs, deltas = self.inputs @ other.inputs.T, self.deltas @ other.deltas.T
        return {self.weight: inputs * deltas, **({self.bias: deltas} if self.bias else {})}

    def products(self, other: MatrixLayer) -> Tensor:
        """(a·a' + 1)(δ·δ'), the 1 where there is a bias."""
        inputs = self.inputs @ other.inputs.T
        inputs += self.bias is not None  # in place: a Gram can be as large as memory allows
        return inputs.mul_(self.deltas @ other.deltas.T)

    def squares(self) -> dict[str, Tensor]:
        """‖a‖²‖δ‖² and ‖δ‖²."""
        deltas = self.deltas.square().sum(1)
        return {self.weight: self.inputs.square().sum(1) * deltas, **({self.bias: deltas} if self.bias else {})}

    def scaled(self, factors: Tensor) -> Self:
        """Each δ times its factor."""
        return replace(self, deltas=self.deltas * factors[:, None])

    def matrices(self) -> Tensor:
        """Outer products."""
        return self.deltas[:, :, None] * self.inputs[:, None, :]

    def rotated_squares(self, left: Tensor, right: Tensor) -> Tensor:
        """As one product of the squared factors."""
        ones = self.inputs.new_ones(len(self.inputs), self.bias is not None)  # the bias's input
        inputs = torch.cat([self.inputs, ones], 1) @ right
        return (self.deltas @ left).square().T @ inputs.square()


@dataclass(frozen=True)
class SequenceLayer(LayerGradients):
    """A linear layer, or an embedding, that is applied at several places of each row.

    Attributes:
        inputs: a, `[row, place, fan-in]`; for an embedding the numbers of its rows, `[row, place]`, integers.
        deltas: δ, `[row, place, fan-out]`.
        fan_in: inputs of a linear layer, rows of an embedding.
    """

    inputs: Tensor
    deltas: Tensor
    fan_in: int

    def tensor_products(self, other: SequenceLayer) -> dict[str, Tensor]:
        """Sums over pairs of places of (a·a')(δ·δ'), or products of whole gradients where that is cheaper."""
        found = {self.weight: self._weight_products(other)}
        if self.bias is not None:
            found[self.bias] = self.deltas.sum(1) @ other.deltas.sum(1).T
        return found

    def products(self, other: SequenceLayer) -> Tensor:
        """Inner products over weight and bias."""
        weight, *bias = self.tensor_products(other).values()
        return weight.add_(bias[0]) if bias else weight

    def _weight_products(self, other: SequenceLayer) -> Tensor:
        pairs = self.inputs.shape[1] * other.inputs.shape[1]
        fan_out = self.deltas.shape[2]
        width = fan_out + (0 if self._is_embedding else self.fan_in)
        whole = not self._is_embedding and pairs * width > self.fan_in * fan_out
        each = self.fan_in * fan_out if whole else 2 * pairs * len(other.inputs)
        rows = max(1, PIECE_BYTES // (each * self.deltas.element_size()))
        theirs = list(other._pieces(rows)) if whole else [other]
        return torch.cat(
            [torch.cat([(_whole if whole else _paired)(m, t) for t in theirs], 1) for m in self._pieces(rows)]
        )

    @property
    def _is_embedding(self) -> bool:
        return self.inputs.dim() == 2

    def _pieces(self, rows: int) -> Iterator[SequenceLayer]:
        for inputs, deltas in zip(self.inputs.split(rows), self.deltas.split(rows), strict=True):
            yield replace(self, inputs=inputs, deltas=deltas)

    def squares(self) -> dict[str, Tensor]:
        """Squared norms, from the places of each row among themselves."""
        deltas = self.deltas @ self.deltas.mT
        inputs = self.inputs @ self.inputs.mT if not self._is_embedding else _equal(self.inputs, self.inputs)
        found = {self.weight: (deltas * inputs).sum((1, 2)).clamp(min=0)}
        if self.bias is not None:
            found[self.bias] = self.deltas.sum(1).square().sum(1)
        return found

    def scaled(self, factors: Tensor) -> Self:
        """Each δ times its factor."""
        return replace(self, deltas=self.deltas * factors[:, None, None])

    def matrices(self) -> Tensor:
        """Sums of outer products; an embedding's are `[row, its rows, width]`, as the parameter is."""
        if self._is_embedding:
            empty = self.deltas.new_zeros(len(self.inputs), self.fan_in, self.deltas.shape[2])
            return empty.scatter_add_(1, self.inputs[..., None].expand_as(self.deltas), self.deltas)
        return self.deltas.mT @ self.inputs

    def rotated_squares(self, left: Tensor, right: Tensor) -> Tensor:
        """Row by row, in pieces."""
        total = left.new_zeros(len(left), len(right))
        for piece in self._pieces(max(1, PIECE_BYTES // (total.numel() * total.element_size()))):
            inputs = functional.pad(piece.inputs, (0, int(self.bias is not None)), value=1.0)  # the bias's input
            total += ((piece.deltas @ left).mT @ (inputs @ right)).square().sum(0)
        return total


def _equal(left: Tensor, right: Tensor) -> Tensor:
    """1 where two places hold the same row of an embedding: the product of their one-hot inputs."""
    return left[..., :, None] == right[..., None, :]


def _whole(left: SequenceLayer, right: SequenceLayer) -> Tensor:
    return left.matrices().flatten(1) @ right.matrices().flatten(1).T


def _paired(left: SequenceLayer, right: SequenceLayer) -> Tensor:
    deltas = left.deltas.flatten(0, 1) @ right.deltas.flatten(0, 1).T
    if left._is_embedding:
        deltas *= _equal(left.inputs.flatten(), right.inputs.flatten())
    else:
        deltas *= left.inputs.flatten(0, 1) @ right.inputs.flatten(0, 1).T
    places = (len(left.inputs), left.inputs.shape[1], len(right.inputs), right.inputs.shape[1])
    return deltas.reshape(places).sum((1, 3))
