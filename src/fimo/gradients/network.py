"""Gradients of whole networks, put together from those of their layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fimo.gradients.dense import DenseGradients
from fimo.gradients.layers import FactoredGradients, LayerGradients
from fimo.gradients.sequences import SequenceLayer


@dataclass(frozen=True)
class NetworkGradients(FactoredGradients):
    """Gradients of some parameters each, which together are those of all parameters."""

    parts: tuple[LayerGradients | DenseGradients, ...]

    def inner_per_parameter(self, other: NetworkGradients) -> dict[str, Tensor]:
        """Inner products over each parameter tensor, `[row of self, row of other]`."""
        return {
            name: product
            for mine, theirs in zip(self.parts, other.parts, strict=True)
            for name, product in mine.inner_per_parameter(theirs).items()  # type: ignore[arg-type]
        }

    def inner(self, other: NetworkGradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of other]`."""
        total: Tensor | None = None
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            product = mine.inner(theirs)  # type: ignore[arg-type]
            total = product if total is None else total.add_(product)
        assert total is not None
        return total

    def squares(self) -> dict[str, Tensor]:
        """Squared norms over each parameter tensor, `[row]`."""
        return {name: squares for part in self.parts for name, squares in part.squares().items()}

    def scaled(self, factors: Tensor) -> NetworkGradients:
        """Each gradient times its factor, `factors [row]`."""
        return NetworkGradients(tuple(part.scaled(factors) for part in self.parts))

    def part(self, name: str) -> LayerGradients | DenseGradients:
        """Where a parameter's gradients are."""
        for part in self.parts:
            if name in ((part.weight, part.bias) if isinstance(part, LayerGradients) else part.tensors):
                return part
        raise KeyError(name)


def joined(blocks: Sequence[Any]) -> Any:
    """All rows of some gradients of one kind, one block after another.

    Args:
        blocks: `NetworkGradients` or `DenseGradients`, or parts of the former.
    """
    first = blocks[0]
    if len(blocks) == 1:
        return first
    if isinstance(first, NetworkGradients):
        return NetworkGradients(tuple(joined(parts) for parts in zip(*(block.parts for block in blocks), strict=True)))
    if isinstance(first, DenseGradients):
        return DenseGradients({name: torch.cat([block.tensors[name] for block in blocks]) for name in first.tensors})
    if isinstance(first, SequenceLayer):
        return replace(first, segments=tuple(segment for block in blocks for segment in block.segments))
    return replace(
        first,
        inputs=torch.cat([block.inputs for block in blocks]),
        deltas=torch.cat([block.deltas for block in blocks]),
    )


def held_bytes(gradients: Any) -> int:
    """Memory that gradients of any kind hold."""
    if isinstance(gradients, NetworkGradients):
        return sum(held_bytes(part) for part in gradients.parts)
    if isinstance(gradients, DenseGradients):
        return sum(block.nbytes for block in gradients.tensors.values())
    layers = gradients.segments if isinstance(gradients, SequenceLayer) else [gradients]
    return sum(layer.inputs.nbytes + layer.deltas.nbytes for layer in layers)
