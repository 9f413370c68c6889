"""Gradients of one layer at several examples, in factors, without any parameter-sized tensor.

The gradient of one example with respect to a linear layer's weight is a sum over the places where the layer is applied
(one, or one for each token) of outer products δ aᵀ, δ the loss gradient at the layer's output and a its input; with
respect to the bias it is the sum of δ. An embedding is a linear layer whose inputs are one-hot.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from fimo.gradients.base import Gradients, Weights, coefficients_of


@dataclass(frozen=True)
class Combination:
    """Sum of linear combinations of gradients, which has no factors of its own: kept as rows and weights."""

    terms: tuple[tuple[Gradients, Weights], ...]

    def inner(self, gradients: Gradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of gradients]`."""
        return torch.stack([_weighted(rows, weights, gradients) for rows, weights in self.terms]).sum(0)

    def __add__(self, other: Combination) -> Combination:
        """Row by row."""
        return Combination(self.terms + other.terms)


def _weighted(rows: Gradients, weights: Weights, gradients: Gradients) -> Tensor:
    if isinstance(weights, Tensor):
        whole = rows.inner(gradients)
        wide = torch.promote_types(weights.dtype, whole.dtype)  # the terms of a solution nearly cancel
        return weights.to(wide) @ whole.to(wide)
    products = rows.inner_per_parameter(gradients)
    return torch.stack([coefficients_of(weights, name) @ product for name, product in products.items()]).sum(0)


class FactoredGradients(Gradients):
    """Gradients that stay in factors: combinations of them are kept as rows and weights."""

    def linear_combination(self, weights: Weights) -> Combination:
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

    def inner_per_parameter(self, other: MatrixLayer) -> dict[str, Tensor]:
        """(a·a')(δ·δ') for the weight, δ·δ' for the bias."""
        inputs, deltas = self.inputs @ other.inputs.T, self.deltas @ other.deltas.T
        return {self.weight: inputs * deltas, **({self.bias: deltas} if self.bias else {})}

    def inner(self, other: MatrixLayer) -> Tensor:
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
