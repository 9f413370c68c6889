"""Gradients of linear layers that are applied to a matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from fimo.gradients.layers import ALL, LayerGradients, parameter_names
from fimo.memory import LAYER_GRADIENT_BYTES


@dataclass(frozen=True)
class LinearGradients(LayerGradients):
    """A linear layer that is applied to a matrix, so that each gradient is one outer product δ aᵀ.

    Attributes:
        inputs: a, `[row, fan-in]`.
        deltas: δ, `[row, fan-out]`.
    """

    inputs: Tensor
    deltas: Tensor

    def __len__(self) -> int:
        return len(self.deltas)

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """Linear layers, not classes derived from them."""
        return type(module) is nn.Linear

    @staticmethod
    def takes(inputs: Tensor) -> bool:
        """A matrix.

        Args:
            inputs: of a call, `[row, …, fan-in]`.
        """
        return inputs.dim() == 2

    @classmethod
    def of(cls, name: str, module: nn.Linear, inputs: Tensor, deltas: Tensor) -> Self:
        """The factors are inputs and deltas themselves.

        Args:
            name: of the module.
            module: the layer.
            inputs: a, `[row, fan-in]`.
            deltas: δ, `[row, fan-out]`.

        Returns:
            A gradient for each row.
        """
        return cls(*parameter_names(name, module), inputs, deltas)

    @property
    def held_bytes(self) -> int:
        """Memory of both factors, in bytes."""
        return self.inputs.nbytes + self.deltas.nbytes

    @property
    def size(self) -> int:
        """Entries of weight and bias."""
        return self.deltas.shape[1] * (self.inputs.shape[1] + (self.bias is not None))

    @property
    def pair_operations(self) -> int:
        """a·a' and δ·δ'."""
        return self.inputs.shape[1] + self.deltas.shape[1]

    def inner_per_parameter(self, other: LinearGradients) -> dict[str, Tensor]:
        """(a·a')(δ·δ') for the weight, δ·δ' for the bias."""
        inputs, deltas = self.inputs @ other.inputs.T, self.deltas @ other.deltas.T
        return {self.weight: inputs * deltas, **({self.bias: deltas} if self.bias else {})}

    def inner(self, other: LinearGradients) -> Tensor:
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

    def joined(self, others: Sequence[LinearGradients]) -> Self:
        """The rows of these gradients, then those of `others`."""
        if not others:
            return self
        inputs, deltas = ([getattr(part, name) for part in (self, *others)] for name in ("inputs", "deltas"))
        return replace(self, inputs=torch.cat(inputs), deltas=torch.cat(deltas))

    def matrices(self, outputs: slice = ALL) -> Tensor:
        """Outer products, `[row, fan-out, fan-in]`, for some of the outputs."""
        return self.deltas[:, outputs, None] * self.inputs[:, None, :]

    def sums(self) -> Tensor:
        """δ."""
        return self.deltas

    def row_sums(self) -> dict[str, Tensor]:
        """Σ δ aᵀ and Σ δ over all rows."""
        weight = self.deltas.T @ self.inputs
        return {self.weight: weight, **({self.bias: self.deltas.sum(0)} if self.bias else {})}

    def rotated(self, left: Tensor, right: Tensor) -> LinearGradients:
        """Both factors rotated, see `LayerGradients`.

        Args:
            left: `[fan-out, fan-out]`.
            right: `[fan-in, fan-in]`, or one more each where there is a bias.

        Returns:
            Gradients without a bias.
        """
        return LinearGradients(self.weight, None, self.with_bias(self.inputs) @ right, self.deltas @ left)

    def pieces(self, most_bytes: int | None = None) -> Iterator[Tensor]:
        """Outer products, some rows at a time.

        Args:
            most_bytes: see `LayerGradients`.
        """
        rows = max(1, (most_bytes or LAYER_GRADIENT_BYTES) // (self.deltas[:1].nbytes * self.inputs.shape[1]))
        for inputs, deltas in zip(self.inputs.split(rows), self.deltas.split(rows), strict=True):
            yield replace(self, inputs=inputs, deltas=deltas).matrices()

    def squared_entries(self) -> Tensor:
        """One product of the squared factors."""
        return self.deltas.square().T @ self.inputs.square()

    def weighted_squares(self, weights: Tensor) -> Tensor:
        """Σ δ² w a², without outer products; weights `[fan-out, fan-in]`."""
        return ((self.deltas.square() @ weights) * self.inputs.square()).sum(1)
