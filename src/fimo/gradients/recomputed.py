"""Gradients that are made anew, some parameters at a time, whenever they are multiplied: none is ever held whole.

Every method needs inner products of gradients only, and these are sums over parameters. So memory is bounded whatever
the network: by the gradients of some rows with respect to a group of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fimo.gradients.base import Gradients, joined_blocks
from fimo.gradients.cotangents import Cotangents
from fimo.gradients.layers import FactoredGradients
from fimo.gradients.network import restricted
from fimo.gradients.source import GradientSource
from fimo.rows import Rows


@dataclass(frozen=True)
class Group:
    """Parameters whose gradients are made together.

    Attributes:
        names: of the parameters in θ.
        at_most: gradients that fit into memory at a time; None where all do.
    """

    names: tuple[str, ...]
    at_most: int | None


@dataclass(frozen=True)
class Recipe:
    """What gradients are made of.

    Attributes:
        source: of gradients.
        rows: the examples.
        cotangents: of the scalars that are differentiated.
        factors: of each gradient; None for none.
    """

    source: GradientSource
    rows: Rows
    cotangents: Cotangents
    factors: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows) * self.source.scalars(self.cotangents, self.rows)

    def pieces(self, group: Group) -> Iterator[Gradients]:
        """The gradients with respect to a group of parameters, as many at a time as fit into memory."""
        made = self.source.blocks(self.rows, self.cotangents, group.at_most, group.names)
        return joined_blocks(made if self.factors is None else self._scaled(made), math.inf, group.at_most or math.inf)

    def _scaled(self, blocks: Iterable[Gradients]) -> Iterator[Gradients]:
        assert self.factors is not None
        start = 0
        for block in blocks:
            yield block.scaled(self.factors[start : (start := start + len(block))])


@dataclass(frozen=True)
class RecomputedGradients(FactoredGradients):
    """Gradients of rows, which are remembered in place of them.

    Attributes:
        recipes: gradients after gradients.
        groups: of all parameters in θ.
    """

    recipes: tuple[Recipe, ...]
    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return sum(map(len, self.recipes))

    @classmethod
    def of(cls, source: GradientSource, rows: Rows, cotangents: Cotangents, most_bytes: int) -> RecomputedGradients:
        """Gradients of which no more than so many bytes are held at a time.

        Args:
            source: of gradients.
            rows: the examples.
            cotangents: of the scalars that are differentiated.
            most_bytes: the bound; one gradient with respect to one layer may take more.

        Returns:
            Row after row; where an example has several scalars they follow each other.
        """
        recipe = Recipe(source, rows, cotangents)
        count = len(recipe)
        groups: list[list[str]] = []
        sizes: list[int] = []
        for names, size in source.gradient_bytes(rows, cotangents):
            if not groups or (sizes[-1] + size) * count > most_bytes:
                groups.append([])
                sizes.append(0)
            groups[-1] += names
            sizes[-1] += size
        fits = [None if size * count <= most_bytes else max(1, most_bytes // size) for size in sizes]
        return cls(
            (recipe,),
            tuple(Group(tuple(names), at_most) for names, at_most in zip(groups, fits, strict=True)),
        )

    def _pieces(self, group: Group) -> Iterator[Gradients]:
        for recipe in self.recipes:
            yield from recipe.pieces(group)

    def _others(self, piece: Gradients, other: Gradients, group: Group) -> Iterator[Gradients]:
        """What a piece is multiplied with."""
        if other is self and len(self.recipes) == 1 and group.at_most is None:
            yield piece
        elif isinstance(other, RecomputedGradients):
            yield from other._pieces(group)
        else:
            yield restricted(other, piece.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameter tensors, group after group."""
        row = replace(self.recipes[0], rows=self.recipes[0].rows.keep(slice(0, 1)), factors=None)
        return tuple(name for group in self.groups for piece in row.pieces(group) for name in piece.names)

    @property
    def held_bytes(self) -> int:
        """None."""
        return 0

    def inner_per_parameter(self, other: Gradients) -> dict[str, Tensor]:
        """Inner products over each parameter tensor by itself, by name: `[row of self, row of other]`."""
        result: dict[str, Tensor] = {}
        for group in self.groups:
            lines = []
            for piece in self._pieces(group):
                parts = [piece.inner_per_parameter(some) for some in self._others(piece, other, group)]
                lines.append({name: torch.cat([part[name] for part in parts], 1) for name in parts[0]})
            result |= _joined(lines)
        return result

    def inner(self, other: Gradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of other]`; `other` is of any form."""
        total: Tensor | None = None
        for group in self.groups:
            lines = [
                _side_by_side([piece.inner(some) for some in self._others(piece, other, group)])
                for piece in self._pieces(group)
            ]
            product = lines[0] if len(lines) == 1 else torch.cat(lines)  # a Gram can be as large as memory allows
            total = product if total is None else total.add_(product)
        assert total is not None
        return total

    def squares(self) -> dict[str, Tensor]:
        """Squared Euclidean norms over each parameter tensor by itself, by name: `[row]`."""
        result: dict[str, Tensor] = {}
        for group in self.groups:
            result |= _joined([piece.squares() for piece in self._pieces(group)])
        return result

    def row_sums(self) -> dict[str, Tensor]:
        """Sum over all rows, by the parameter's name."""
        return self._added([[piece.row_sums() for piece in self._pieces(group)] for group in self.groups])

    def row_square_sums(self) -> dict[str, Tensor]:
        """Sum over all rows of the squared entries, by the parameter's name."""
        return self._added([[piece.row_square_sums() for piece in self._pieces(group)] for group in self.groups])

    @staticmethod
    def _added(groups: Sequence[Sequence[dict[str, Tensor]]]) -> dict[str, Tensor]:
        return {name: torch.stack([part[name] for part in parts]).sum(0) for parts in groups for name in parts[0]}

    def scaled(self, factors: Tensor) -> RecomputedGradients:
        """Each row times its factor, `[row]`."""
        recipes, start = [], 0
        for recipe in self.recipes:
            some = factors[start : (start := start + len(recipe))]
            recipes.append(replace(recipe, factors=some if recipe.factors is None else some * recipe.factors))
        return replace(self, recipes=tuple(recipes))

    def joined(self, others: Sequence[RecomputedGradients]) -> RecomputedGradients:
        """The rows of these gradients, then those of `others`."""
        return replace(self, recipes=(*self.recipes, *(recipe for other in others for recipe in other.recipes)))


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)


def _joined(lines: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Rows after rows, by name."""
    return {name: torch.cat([line[name] for line in lines]) for name in lines[0]}
