"""Gradients of layers that are applied at several places of each row: the linear layers of transformers, embeddings.

The gradient of the weight is the sum over places of outer products δ aᵀ, so that

    g · g' = Σ over pairs of places (a · a')(δ · δ')
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from fimo.gradients.layers import ALL, LayerGradients, parameter_names
from fimo.gradients.segments import Segment
from fimo.memory import LAYER_GRADIENT_BYTES, PLACE_PAIR_BYTES

# A linear layer over sequences is taken in factors where these are smaller than its gradient with so many places. It
# does not depend on the places of the rows at hand: gradients of other rows have to be taken apart in the same way.
PLACES = 5


@dataclass(frozen=True)
class SequenceGradients(LayerGradients):
    """A layer that is applied at several places of each row, linear in the inputs there.

    Attributes:
        segments: rows after rows.
        fan_in: inputs of a linear layer, rows of an embedding.
    """

    segments: tuple[Segment, ...]
    fan_in: int

    @staticmethod
    def input_products(left: Tensor, right: Tensor) -> Tensor:
        """a·a' for all pairs of places.

        Args:
            left: inputs of a `Segment`, with an axis `row` or with all places of all rows on one axis.
            right: inputs with the same axes.

        Returns:
            `[…, place of left, place of right]`.
        """
        return left @ right.mT

    def _matrices_are_cheaper(self, other: SequenceGradients) -> bool:
        """Whether the weight's gradients as they are take fewer operations to multiply than their factors."""
        matrices = len(self) * len(other) + self._places + other._places
        pairs = self._places * other._places
        return pairs * (self.fan_in + self.fan_out) > matrices * self.fan_in * self.fan_out

    @property
    def held_bytes(self) -> int:
        """Memory of all factors, in bytes."""
        return sum(segment.inputs.nbytes + segment.deltas.nbytes for segment in self.segments)

    @property
    def fan_out(self) -> int:
        """Outputs, or an embedding's width."""
        return self.segments[0].deltas.shape[2]

    def __len__(self) -> int:
        return sum(len(segment.deltas) for segment in self.segments)

    @property
    def _places(self) -> int:
        return sum(segment.deltas[..., 0].numel() for segment in self.segments)

    @property
    def size(self) -> int:
        """Entries of weight and bias."""
        return self.fan_out * (self.fan_in + (self.bias is not None))

    @property
    def pair_operations(self) -> float:
        """Of all pairs of places, or of the gradients as they are where that is cheaper."""
        places = self._places / len(self)
        return min(places**2 * (self.fan_in + self.fan_out), self.fan_in * self.fan_out)

    def inner_per_parameter(self, other: SequenceGradients) -> dict[str, Tensor]:
        """Sums over pairs of places of (a·a')(δ·δ'), or products of the gradients as they are where that is cheaper."""
        products = self._inner_of_matrices if self._matrices_are_cheaper(other) else self._inner_of_pairs
        result = {self.weight: products(other)}
        if self.bias is not None:
            result[self.bias] = self.sums() @ other.sums().T
        return result

    def inner(self, other: SequenceGradients) -> Tensor:
        """Inner products over weight and bias."""
        weight, *bias = self.inner_per_parameter(other).values()
        return weight.add_(bias[0]) if bias else weight

    def _inner_of_pairs(self, other: SequenceGradients) -> Tensor:
        return torch.cat([torch.cat([self._of_segments(s, o) for o in other.segments], 1) for s in self.segments])

    def _of_segments(self, left: Segment, right: Segment) -> Tensor:
        """Inner products of the weight's gradients as sums over pairs of places, some rows at a time."""
        rows = max(1, PLACE_PAIR_BYTES // (2 * right.deltas[..., 0].numel() * left.deltas[0, :, :1].nbytes))
        return torch.cat([self._of_pairs(piece, right) for piece in left.pieces(rows)])

    def _of_pairs(self, left: Segment, right: Segment) -> Tensor:
        pairs = left.deltas.flatten(0, 1) @ right.deltas.flatten(0, 1).T
        pairs.mul_(self.input_products(left.inputs.flatten(0, 1), right.inputs.flatten(0, 1)))
        return pairs.reshape(*left.deltas.shape[:2], *right.deltas.shape[:2]).sum((1, 3))

    def _inner_of_matrices(self, other: SequenceGradients) -> Tensor:
        """Some outputs of the layer after others, so that the gradients as they are are never all in memory."""
        row_bytes = self.fan_in * self.segments[0].deltas.element_size()
        outputs = max(1, LAYER_GRADIENT_BYTES // ((len(self) + len(other)) * row_bytes))
        total: Tensor | None = None
        for start in range(0, self.fan_out, outputs):
            some = slice(start, start + outputs)
            mine = self.matrices(some).flatten(1)
            theirs = mine if other is self else other.matrices(some).flatten(1)
            total = mine @ theirs.T if total is None else total.addmm_(mine, theirs.T)
        assert total is not None
        return total

    def sums(self) -> Tensor:
        """The bias's gradients, `[row, fan-out]`."""
        return torch.cat([segment.deltas.sum(1) for segment in self.segments])

    def squares(self) -> dict[str, Tensor]:
        """Squared norms, from the places of each row among themselves."""
        result = {self.weight: torch.cat([self._squares_of_rows(segment) for segment in self.segments])}
        if self.bias is not None:
            result[self.bias] = self.sums().square().sum(1)
        return result

    def _squares_of_rows(self, segment: Segment) -> Tensor:
        products = (segment.deltas @ segment.deltas.mT) * self.input_products(segment.inputs, segment.inputs)
        return products.sum((1, 2)).clamp(min=0)  # rounding can make a square a little negative

    def scaled(self, factors: Tensor) -> Self:
        """Each δ times its factor."""
        parts = factors.split([len(segment.deltas) for segment in self.segments])
        pairs = zip(self.segments, parts, strict=True)
        return replace(self, segments=tuple(Segment(s.inputs, s.deltas * part[:, None, None]) for s, part in pairs))

    def joined(self, others: Sequence[SequenceGradients]) -> Self:
        """The rows of these gradients, then those of `others`."""
        parts: tuple[SequenceGradients, ...] = (self, *others)
        return replace(self, segments=tuple(segment for part in parts for segment in part.segments))

    def matrices(self, outputs: slice = ALL) -> Tensor:
        """Sums of outer products, `[row, fan-out, fan-in]`, for some of the outputs."""
        parts = [segment.deltas[..., outputs].mT @ segment.inputs for segment in self.segments]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def row_sums(self) -> dict[str, Tensor]:
        """Sums of outer products and of δ over all places of all rows."""
        result = {self.weight: torch.stack([self._sum_of_pairs(segment) for segment in self.segments]).sum(0)}
        if self.bias is not None:
            result[self.bias] = self.sums().sum(0)
        return result

    def _sum_of_pairs(self, segment: Segment) -> Tensor:
        """Σ δ aᵀ over all places of all rows, with the axes of the parameter."""
        return segment.deltas.flatten(0, 1).T @ segment.inputs.flatten(0, 1)

    def rotated(self, left: Tensor, right: Tensor) -> SequenceGradients:
        """Both factors rotated, place by place, see `LayerGradients`.

        Args:
            left: `[fan-out, fan-out]`.
            right: `[fan-in, fan-in]`, or one more each where there is a bias.

        Returns:
            Gradients without a bias.
        """
        segments = tuple(Segment(self.with_bias(s.inputs) @ right, s.deltas @ left) for s in self.segments)
        return LinearSequenceGradients(self.weight, None, segments, len(right))

    def pieces(self, most_bytes: int | None = None) -> Iterator[Tensor]:
        """Sums of outer products, some rows at a time.

        Args:
            most_bytes: see `LayerGradients`.
        """
        rows = max(1, (most_bytes or LAYER_GRADIENT_BYTES) // (self.segments[0].deltas[0, :1].nbytes * self.fan_in))
        some: list[Segment] = []
        for piece in (piece for segment in self.segments for piece in segment.pieces(rows)):
            if some and sum(len(one.deltas) for one in some) + len(piece.deltas) > rows:
                yield replace(self, segments=tuple(some)).matrices()
                some = []
            some.append(piece)
        yield replace(self, segments=tuple(some)).matrices()


@dataclass(frozen=True)
class LinearSequenceGradients(SequenceGradients):
    """A linear layer that is applied at several places of each row."""

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """Linear layers, not classes derived from them."""
        return type(module) is nn.Linear

    @staticmethod
    def takes(inputs: Tensor) -> bool:
        """Inputs that have places.

        Args:
            inputs: of a call, `[row, …, fan-in]`.
        """
        return inputs.dim() > 2

    @staticmethod
    def is_cheaper(module: nn.Linear, inputs: Tensor, outputs: Tensor) -> bool:
        """Where the factors of `PLACES` places are smaller than the weight.

        Args:
            module: the layer.
            inputs: of a call, `[row, …, fan-in]`.
            outputs: of that call, `[row, …, fan-out]`.

        Returns:
            Whether PLACES (fan-in + fan-out) < fan-in · fan-out.
        """
        both = module.in_features + module.out_features
        return PLACES * both < module.in_features * module.out_features

    @classmethod
    def of(cls, name: str, module: nn.Linear, inputs: Tensor, deltas: Tensor) -> Self:
        """All axes between the first and the last are places.

        Args:
            name: of the module.
            module: the layer.
            inputs: a, `[row, …, fan-in]`.
            deltas: δ, `[row, …, fan-out]`.

        Returns:
            A gradient for each row.
        """
        segment = Segment(inputs.flatten(1, -2), deltas.flatten(1, -2))
        return cls(*parameter_names(name, module), (segment,), module.in_features)
