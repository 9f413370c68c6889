"""Gradients of embeddings in factors: linear layers whose inputs are one-hot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn

from fimo.gradients.layers import ALL, LayerGradients, parameter_names
from fimo.gradients.segments import Segment
from fimo.gradients.sequences import LinearSequenceGradients, SequenceGradients


@dataclass(frozen=True)
class EmbeddingGradients(SequenceGradients):
    """An embedding: a is one-hot, kept as the number of the embedding's row."""

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """Embeddings whose gradient is that of a plain look-up."""
        if type(module) is not nn.Embedding:
            return False
        return module.max_norm is None and not module.scale_grad_by_freq and not module.sparse

    @staticmethod
    def for_each_row(inputs: Tensor, outputs: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Positions are often looked up once for all rows: then each row has its own view of them.

        Places of all sequences of a row are places of the row.

        Args:
            inputs: of a call.
            outputs: of that call.
            rows: number of rows that the network is called with.

        Returns:
            Both, with an axis `row`.
        """
        if len(inputs) == 1 < rows:
            return inputs.expand(rows, *inputs.shape[1:]), outputs.expand(rows, *outputs.shape[1:])
        return LayerGradients.for_each_row(inputs, outputs, rows)

    @classmethod
    def of(cls, name: str, module: nn.Embedding, inputs: Tensor, deltas: Tensor) -> Self:
        """All axes but the first are places; the row that pads is never trained.

        Args:
            name: of the module.
            module: the embedding.
            inputs: numbers of its rows, `[row, …]`.
            deltas: δ, the gradients at its outputs, `[row, …, width]`.

        Returns:
            A gradient for each row.
        """
        numbers, deltas = inputs.flatten(1), deltas.flatten(1, -2)
        if module.padding_idx is not None:
            deltas = deltas * (numbers != module.padding_idx)[..., None]
        weight, bias = parameter_names(name, module)
        return cls(weight, bias, (Segment(numbers, deltas),), module.num_embeddings)

    @staticmethod
    def input_products(left: Tensor, right: Tensor) -> Tensor:
        """a·a' for all pairs of places: 1 where they look up the same row, else 0.

        Args:
            left: numbers of the embedding's rows, with an axis `row` or with all places of all rows on one axis.
            right: numbers with the same axes.

        Returns:
            Whether the places look up the same row, `[…, place of left, place of right]`.
        """
        return left[..., :, None] == right[..., None, :]

    def _matrices_are_cheaper(self, other: SequenceGradients) -> bool:
        return False  # nearly all of their entries are zero

    @property
    def pair_operations(self) -> float:
        """δ·δ' of places with the same token, about one for each place; on a GPU of all pairs of places."""
        places = self._places / len(self)
        return places * self.fan_out * (places if self.segments[0].deltas.is_cuda else 1)

    @property
    def held_bytes(self) -> int:
        """Memory of all factors, and about what `by_token` holds, in bytes."""
        return super().held_bytes + sum(segment.deltas.nbytes for segment in self.segments)

    @cached_property
    def by_token(self) -> dict[int, tuple[Tensor, Tensor]]:
        """By a token's number the rows that have it, `[some]`, and of each Σ δ over its places, `[some, width]`."""
        first, keys, deltas = 0, [], []
        for segment in self.segments:
            rows = torch.arange(first, first := first + len(segment.inputs), device=segment.inputs.device)
            keys.append((segment.inputs.long() * len(self) + rows[:, None]).flatten())
            deltas.append(segment.deltas.flatten(0, 1))
        pairs, places = torch.cat(keys).unique(return_inverse=True)
        sums = deltas[0].new_zeros(len(pairs), self.fan_out).index_add_(0, places, torch.cat(deltas))
        tokens, counts = (pairs // len(self)).unique_consecutive(return_counts=True)
        sizes = counts.tolist()
        parts = zip((pairs % len(self)).split(sizes), sums.split(sizes), strict=True)
        return dict(zip(tokens.tolist(), parts, strict=True))

    def _inner_of_pairs(self, other: SequenceGradients) -> Tensor:
        """Σ δ·δ' over pairs of places with the same token, token by token; a GPU is given all pairs at once."""
        assert isinstance(other, EmbeddingGradients)
        if self.segments[0].deltas.is_cuda:
            return super()._inner_of_pairs(other)
        total = self.segments[0].deltas.new_zeros(len(self), len(other))
        theirs = other.by_token
        for token, (rows, deltas) in self.by_token.items():
            if token in theirs:
                columns, others = theirs[token]
                total[rows[:, None], columns] += deltas @ others.T  # a row has a token once, and so has a column
        return total

    def matrices(self, outputs: slice = ALL) -> Tensor:
        """Gradients as the parameter has its axes, `[row, row of the embedding, width]`, for some of the width."""
        result = []
        for segment in self.segments:
            deltas = segment.deltas[..., outputs]
            empty = deltas.new_zeros(len(deltas), self.fan_in, deltas.shape[2])
            result.append(empty.scatter_add_(1, segment.inputs[..., None].expand_as(deltas), deltas))
        return torch.cat(result)

    def _sum_of_pairs(self, segment: Segment) -> Tensor:
        deltas = segment.deltas.flatten(0, 1)
        return deltas.new_zeros(self.fan_in, self.fan_out).index_add_(0, segment.inputs.flatten(), deltas)

    def row_square_sums(self) -> dict[str, Tensor]:
        """Sum over all rows of the squared entries, of the tokens that a row has."""
        total = self.segments[0].deltas.new_zeros(self.fan_in, self.fan_out)
        for segment in self.segments:
            same = self.input_products(segment.inputs, segment.inputs).to(segment.deltas)
            # A row's gradient at a token is there once for each place that has it.
            squares = (same @ segment.deltas).square() / same.sum(2, keepdim=True)
            total.index_add_(0, segment.inputs.flatten(), squares.flatten(0, 1))
        return {self.weight: total}

    def rescaled(self, factors: Tensor, name: str) -> Self:
        """Each entry of the gradients times a factor of its own: of one token, so that they stay in factors.

        Args:
            factors: `[row of the embedding, width]`.
            name: that the weight has then.

        Returns:
            Gradients.
        """
        segments = tuple(Segment(s.inputs, s.deltas * factors[s.inputs]) for s in self.segments)
        return replace(self, weight=name, segments=segments)

    def rotated(self, left: Tensor, right: Tensor) -> SequenceGradients:
        """leftᵀ G right, G with the axes of a linear layer's weight: one-hot inputs take rows of `right`.

        Args:
            left: `[width, width]`.
            right: `[row of the embedding, row of the embedding]`.

        Returns:
            Of each row, `[width, row of the embedding]`.
        """
        segments = tuple(Segment(right[s.inputs], s.deltas @ left) for s in self.segments)
        return LinearSequenceGradients(self.weight, None, segments, len(right))
