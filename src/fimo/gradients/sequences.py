"""Gradients of layers that are applied at several places of each row: the linear layers of transformers, embeddings.

The gradient of the weight is the sum over places of outer products δ aᵀ, so that

    g · g' = Σ over pairs of places (a · a')(δ · δ')
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from fimo.gradients.layers import LayerGradients
from fimo.memory import LAYER_GRADIENT_BYTES, PLACE_PAIR_BYTES


@dataclass(frozen=True)
class Segment:
    """Some rows of a `SequenceLayer`, padded to the same number of places.

    Attributes:
        inputs: a, `[row, place, fan-in]`; for an embedding the numbers of its rows, `[row, place]`, integers.
        deltas: δ, `[row, place, fan-out]`.
    """

    inputs: Tensor
    deltas: Tensor

    def same(self, other: Segment) -> Tensor:
        """a·a' for all pairs of places, `[row · place, other row · other place]`."""
        if self.inputs.dim() == 2:  # one-hot
            return self.inputs.flatten()[:, None] == other.inputs.flatten()
        return self.inputs.flatten(0, 1) @ other.inputs.flatten(0, 1).T

    def inner(self, other: Segment) -> Tensor:
        """Inner products of the weight's gradients as sums over pairs of places."""
        rows = max(1, PLACE_PAIR_BYTES // (2 * other.deltas[..., 0].numel() * self.deltas[0, :, :1].nbytes))
        pieces = [self._products(piece, other) for piece in self.pieces(rows)]
        return torch.cat(pieces)

    @staticmethod
    def _products(left: Segment, right: Segment) -> Tensor:
        pairs = (left.deltas.flatten(0, 1) @ right.deltas.flatten(0, 1).T).mul_(left.same(right))
        return pairs.reshape(*left.deltas.shape[:2], *right.deltas.shape[:2]).sum((1, 3))

    def pieces(self, rows: int) -> Iterator[Segment]:
        """The same, so many rows at a time."""
        for inputs, deltas in zip(self.inputs.split(rows), self.deltas.split(rows), strict=True):
            yield Segment(inputs, deltas)


@dataclass(frozen=True)
class SequenceLayer(LayerGradients):
    """A linear layer, or an embedding, that is applied at several places of each row.

    Attributes:
        segments: rows after rows.
        fan_in: inputs of a linear layer, rows of an embedding.
    """

    segments: tuple[Segment, ...]
    fan_in: int

    @property
    def _is_embedding(self) -> bool:
        return self.segments[0].inputs.dim() == 2

    @property
    def _rows(self) -> int:
        return sum(len(segment.deltas) for segment in self.segments)

    @property
    def _places(self) -> int:
        return sum(segment.deltas[..., 0].numel() for segment in self.segments)

    @property
    def fan_out(self) -> int:
        """Outputs, or an embedding's width."""
        return self.segments[0].deltas.shape[2]

    def inner_per_parameter(self, other: SequenceLayer) -> dict[str, Tensor]:
        """Sums over pairs of places of (a·a')(δ·δ'), or products of whole gradients where that is cheaper."""
        found = {self.weight: self._whole(other) if self._whole_is_cheaper(other) else self._paired(other)}
        if self.bias is not None:
            found[self.bias] = self._sums() @ other._sums().T
        return found

    def inner(self, other: SequenceLayer) -> Tensor:
        """Inner products over weight and bias."""
        weight, *bias = self.inner_per_parameter(other).values()
        return weight.add_(bias[0]) if bias else weight

    def _whole_is_cheaper(self, other: SequenceLayer) -> bool:
        whole = self._rows * other._rows + self._places + other._places
        pairs = self._places * other._places
        return not self._is_embedding and pairs * (self.fan_in + self.fan_out) > whole * self.fan_in * self.fan_out

    def _paired(self, other: SequenceLayer) -> Tensor:
        return torch.cat([torch.cat([mine.inner(s) for s in other.segments], 1) for mine in self.segments])

    def _whole(self, other: SequenceLayer) -> Tensor:
        """Some outputs of the layer after others, so that never the whole gradients are in memory."""
        row_bytes = self.fan_in * self.segments[0].deltas.element_size()
        outputs = max(1, LAYER_GRADIENT_BYTES // ((self._rows + other._rows) * row_bytes))
        total: Tensor | None = None
        for start in range(0, self.fan_out, outputs):
            some = slice(start, start + outputs)
            mine = self.matrices(some).flatten(1)
            theirs = mine if other is self else other.matrices(some).flatten(1)
            total = mine @ theirs.T if total is None else total.addmm_(mine, theirs.T)
        assert total is not None
        return total

    def _sums(self) -> Tensor:
        """The bias's gradients."""
        return torch.cat([segment.deltas.sum(1) for segment in self.segments])

    def squares(self) -> dict[str, Tensor]:
        """Squared norms, from the places of each row among themselves."""
        found = {self.weight: torch.cat([_squares(segment) for segment in self.segments])}
        if self.bias is not None:
            found[self.bias] = self._sums().square().sum(1)
        return found

    def scaled(self, factors: Tensor) -> Self:
        """Each δ times its factor."""
        parts = factors.split([len(segment.deltas) for segment in self.segments])
        pairs = zip(self.segments, parts, strict=True)
        return replace(self, segments=tuple(Segment(s.inputs, s.deltas * part[:, None, None]) for s, part in pairs))

    def matrices(self, outputs: slice = slice(None)) -> Tensor:
        """Sums of outer products, for some outputs; an embedding's are `[row, its rows, width]`, as the parameter."""
        found = []
        for segment in self.segments:
            inputs, deltas = segment.inputs, segment.deltas[..., outputs]
            if self._is_embedding:
                empty = deltas.new_zeros(len(inputs), self.fan_in, deltas.shape[2])
                found.append(empty.scatter_add_(1, inputs[..., None].expand_as(deltas), deltas))
            else:
                found.append(deltas.mT @ inputs)
        return torch.cat(found)

    def rotated_squares(self, left: Tensor, right: Tensor) -> Tensor:
        """Row by row, in pieces."""
        total = left.new_zeros(len(left), len(right))
        for segment in self.segments:
            for piece in segment.pieces(max(1, PLACE_PAIR_BYTES // total.nbytes)):
                inputs = functional.pad(piece.inputs, (0, int(self.bias is not None)), value=1.0)  # the bias's input
                total += ((piece.deltas @ left).mT @ (inputs @ right)).square().sum(0)
        return total


def _squares(segment: Segment) -> Tensor:
    inputs, deltas = segment.inputs, segment.deltas @ segment.deltas.mT
    same = inputs[:, :, None] == inputs[:, None] if inputs.dim() == 2 else inputs @ inputs.mT
    return (deltas * same).sum((1, 2)).clamp(min=0)  # rounding can make a square a little negative
