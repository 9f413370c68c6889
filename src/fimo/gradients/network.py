"""Gradients of whole networks, put together from those of their layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fimo.gradients.layers import FactoredGradients, LayerGradients
from fimo.gradients.per_example import MatrixGradients


@dataclass(frozen=True)
class NetworkGradients(FactoredGradients):
    """Gradients of some parameters each, which together are those of all parameters."""

    parts: tuple[LayerGradients | MatrixGradients, ...]

    def tensor_products(self, other: NetworkGradients) -> dict[str, Tensor]:
        """Inner products over each parameter tensor, `[row of self, row of other]`."""
        return {
            name: product
            for mine, theirs in zip(self.parts, other.parts, strict=True)
            for name, product in mine.tensor_products(theirs).items()  # type: ignore[arg-type]
        }

    def products(self, other: NetworkGradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of other]`."""
        total: Tensor | None = None
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            product = mine.products(theirs)  # type: ignore[arg-type]
            total = product if total is None else total.add_(product)
        assert total is not None
        return total

    def squares(self) -> dict[str, Tensor]:
        """Squared norms over each parameter tensor, `[row]`."""
        return {name: squares for part in self.parts for name, squares in part.squares().items()}

    def scaled(self, factors: Tensor) -> NetworkGradients:
        """Each gradient times its factor, `factors [row]`."""
        return NetworkGradients(tuple(part.scaled(factors) for part in self.parts))

    def part(self, name: str) -> LayerGradients | MatrixGradients:
        """Where a parameter's gradients are."""
        for part in self.parts:
            if name in ((part.weight, part.bias) if isinstance(part, LayerGradients) else part.blocks):
                return part
        raise KeyError(name)


@dataclass(frozen=True)
class BlockGradients(FactoredGradients):
    """Rows of gradients in blocks, since sequences of different lengths don't stack."""

    blocks: tuple[NetworkGradients, ...]

    def tensor_products(self, other: NetworkGradients) -> dict[str, Tensor]:
        """Inner products over each parameter tensor, `[row of self, row of other]`."""
        found = [block.tensor_products(other) for block in self.blocks]
        return {name: torch.cat([products[name] for products in found]) for name in found[0]}

    def products(self, other: NetworkGradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of other]`."""
        return torch.cat([block.products(other) for block in self.blocks])

    def squares(self) -> dict[str, Tensor]:
        """Squared norms over each parameter tensor, `[row]`."""
        found = [block.squares() for block in self.blocks]
        return {name: torch.cat([squares[name] for squares in found]) for name in found[0]}

    def scaled(self, factors: Tensor) -> BlockGradients:
        """Each gradient times its factor, `factors [row]`."""
        parts = factors.split([len(block.norms()) for block in self.blocks])
        return BlockGradients(tuple(block.scaled(part) for block, part in zip(self.blocks, parts, strict=True)))
