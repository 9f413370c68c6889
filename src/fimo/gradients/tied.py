"""Gradients of a weight that an embedding and the head of a language model share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from fimo.gradients.embedding import EmbeddingGradients
from fimo.gradients.layers import ALL, LayerGradients
from fimo.gradients.segments import Segment
from fimo.gradients.sequences import LinearSequenceGradients
from fimo.memory import CACHE_BYTES, LAYER_GRADIENT_BYTES


@dataclass(frozen=True)
class TiedGradients(LayerGradients):
    """The sum of what an embedding and a linear layer without a bias make of their common weight, `[word, width]`.

        G = Σ_p e_{x_p} δ_pᵀ + Σ_q δ'_q h_qᵀ

    over the places p where the word x_p is looked up and the places q where the head is applied to h_q. Both are kept
    in factors, and products are those of both layers and, of each with the other,

        ⟨e_x δᵀ, δ' hᵀ⟩ = (δ · h) δ'_x

    Attributes:
        embedding: x and δ.
        head: h and δ'.
    """

    embedding: EmbeddingGradients
    head: LinearSequenceGradients

    @staticmethod
    def supports(module: Any) -> bool:
        """No module by itself: two that share a weight, see `fimo.gradients.factored`."""
        return False

    @classmethod
    def of(cls, name: str, module: nn.Module, inputs: Tensor, deltas: Tensor) -> Self:
        """Of no module by itself, see `of_both`.

        Args:
            name: of the module.
            module: the layer.
            inputs: a.
            deltas: δ.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{name} shares its weight: its gradients are made with those of the other layer.")

    @classmethod
    def of_both(cls, weight: str, embedding: EmbeddingGradients, head: LinearSequenceGradients) -> Self:
        """Gradients of the weight that both have in common.

        Args:
            weight: its name in θ.
            embedding: what the embedding makes of it.
            head: what the linear layer makes of it.
        """
        return cls(weight, None, replace(embedding, weight=weight), replace(head, weight=weight))

    def __len__(self) -> int:
        return len(self.embedding)

    @property
    def words(self) -> int:
        """Rows of the weight."""
        return self.embedding.fan_in

    @property
    def held_bytes(self) -> int:
        """Memory of all factors, in bytes."""
        return self.embedding.held_bytes + self.head.held_bytes

    @property
    def size(self) -> int:
        """Entries of the weight."""
        return self.head.size

    @property
    def pair_operations(self) -> float:
        """Of both layers, and what each has with the other: the head's gradient at each token."""
        return self.head.pair_operations + 3 * self.embedding.pair_operations

    def matrices(self, outputs: slice = ALL) -> Tensor:
        """G as it is for some of the words, `[row, word, width]`."""
        first, last, _ = outputs.indices(self.words)
        result = self.head.matrices(slice(first, last))
        begin = 0
        for segment in self.embedding.segments:
            rows = result[begin : (begin := begin + len(segment.deltas))]
            here = (segment.inputs >= first) & (segment.inputs < last)
            numbers = torch.where(here, segment.inputs - first, 0)[..., None].expand_as(segment.deltas)
            rows.scatter_add_(1, numbers, segment.deltas * here[..., None])
        return result

    def _slices(self) -> Iterator[slice]:
        """Words after words, as many as fit into a cache for all rows."""
        delta = self.embedding.segments[0].deltas
        words = max(1, CACHE_BYTES // (len(self) * delta.shape[-1] * delta.element_size()))
        return (slice(start, start + words) for start in range(0, self.words, words))

    def inner(self, other: TiedGradients) -> Tensor:
        """Inner products, `[row of self, row of other]`: of both layers, and of each with the other's other one."""
        total = self.head.inner(other.head) + self.embedding.inner(other.embedding)
        total += _mixed(self.embedding, other.head)
        return total.add_(_mixed(other.embedding, self.head).T)

    def inner_per_parameter(self, other: TiedGradients) -> dict[str, Tensor]:
        """The same, by the weight's name."""
        return {self.weight: self.inner(other)}

    def sums(self) -> Tensor:
        """What a bias's gradients would be, `[row, word]`; there is none."""
        return self.head.sums()

    def squares(self) -> dict[str, Tensor]:
        """Squared norms, `[row]`, from the places of each row among themselves."""
        plain = self.embedding.squares()[self.weight] + self.head.squares()[self.weight]
        mixed = []
        for looked_up, applied in zip(self.embedding.segments, self.head.segments, strict=True):
            places = looked_up.inputs[:, None].expand(-1, applied.deltas.shape[1], -1)
            picked = applied.deltas.gather(2, places)  # δ'_q at the word x_p, [row, place q, place p]
            mixed.append((picked * (applied.inputs @ looked_up.deltas.mT)).sum((1, 2)))
        return {self.weight: (plain + 2 * torch.cat(mixed)).clamp(min=0)}

    def scaled(self, factors: Tensor) -> Self:
        """Each gradient times its factor."""
        return replace(self, embedding=self.embedding.scaled(factors), head=self.head.scaled(factors))

    def joined(self, others: Sequence[TiedGradients]) -> Self:
        """The rows of these gradients, then those of `others`."""
        embeddings, heads = [other.embedding for other in others], [other.head for other in others]
        return replace(self, embedding=self.embedding.joined(embeddings), head=self.head.joined(heads))

    def row_sums(self) -> dict[str, Tensor]:
        """Sum over all rows, `[word, width]`."""
        return {self.weight: self.embedding.row_sums()[self.weight] + self.head.row_sums()[self.weight]}

    def rotated(self, left: Tensor, right: Tensor) -> LinearSequenceGradients:
        """leftᵀ G right in factors: those of both layers are places of one.

        Args:
            left: `[word, word]`.
            right: `[width, width]`.
        """
        looked_up = [Segment(s.deltas @ right, left[s.inputs]) for s in self.embedding.segments]
        rotated = self.head.rotated(left, right)
        pairs = zip(looked_up, rotated.segments, strict=True)
        segments = tuple(
            Segment(torch.cat([one.inputs, other.inputs], 1), torch.cat([one.deltas, other.deltas], 1))
            for one, other in pairs
        )
        return LinearSequenceGradients(self.weight, None, segments, len(right))

    def pieces(self, most_bytes: int | None = None) -> Iterator[Tensor]:
        """G as it is, some rows at a time.

        Args:
            most_bytes: see `LayerGradients`.
        """
        delta = self.embedding.segments[0].deltas
        rows = max(1, (most_bytes or LAYER_GRADIENT_BYTES) // (self.words * delta.shape[-1] * delta.element_size()))
        for looked_up, applied in zip(self.embedding.segments, self.head.segments, strict=True):
            for one, other in zip(looked_up.pieces(rows), applied.pieces(rows), strict=True):
                embedding, head = replace(self.embedding, segments=(one,)), replace(self.head, segments=(other,))
                yield replace(self, embedding=embedding, head=head).matrices()

    def squared_entries(self) -> Tensor:
        """Sum over rows of the squared entries, `[word, width]`, some words after others."""
        return torch.cat([self.matrices(words).square().sum(0) for words in self._slices()])


def _mixed(embedding: EmbeddingGradients, head: LinearSequenceGradients) -> Tensor:
    """Σ over pairs of places of (δ · h) δ'_x, `[row of the embedding, row of the head]`.

    Token by token it is Σ δ over its places times the head's gradient at the token, Σ δ'_x h.
    """
    total = head.segments[0].deltas.new_zeros(len(embedding), len(head))
    by_token = embedding.by_token
    token_bytes = len(head) * head.fan_in * total.element_size()
    for tokens in torch.tensor([*by_token], device=total.device).split(max(1, CACHE_BYTES // token_bytes)):
        parts = [segment.deltas[..., tokens].mT @ segment.inputs for segment in head.segments]
        for token, gradients in zip(tokens.tolist(), torch.cat(parts).unbind(1), strict=True):
            rows, deltas = by_token[token]
            total[rows] += deltas @ gradients.T  # a row has a token once
    return total
