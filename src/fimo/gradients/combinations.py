"""Linear combinations of gradients in factors, which have no factors of their own.

Products Σ_k w_k (g_k · g) go through all pairs of rows, or the combination Σ_k w_k g_k is written out once and
multiplied as it is: which takes fewer operations depends on how many gradients it is multiplied with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from fimo.gradients.base import Coefficients, ExplicitGradients, Gradients, Vectors, coefficients_of
from fimo.memory import WRITTEN_BYTES

Term = tuple[Gradients, Coefficients]


@dataclass(frozen=True)
class Combination:
    """Sum of linear combinations of gradients, kept as rows and coefficients.

    Attributes:
        terms: gradients and coefficients `[new row, row]`.
    """

    terms: tuple[Term, ...]

    def inner(self, gradients: Gradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of gradients]`."""
        return torch.stack([_weighted(rows, by, gradients) for rows, by in self.terms]).sum(0)

    def __add__(self, other: Combination | Gradients) -> Combination:
        """Row by row."""
        if isinstance(other, Combination):
            return Combination(self.terms + other.terms)
        rows = other.norms()
        return Combination((*self.terms, (other, torch.eye(len(rows), dtype=rows.dtype, device=rows.device))))


@dataclass(frozen=True)
class Written:
    """Vectors in the space of some parameters, as they are.

    Attributes:
        entries: by parameter tensor, `[vector, entry]`.
    """

    entries: Mapping[str, Tensor]

    def inner(self, gradients: ExplicitGradients) -> Tensor:
        """Inner products, `[vector, row of gradients]`."""
        parts = [
            torch.stack([entries @ some[name].to(entries).T for name, entries in self.entries.items()]).sum(0)
            for some in gradients.written()
        ]
        return torch.cat(parts, 1)


@dataclass(frozen=True)
class Layers:
    """Vectors, some parameters after others.

    Attributes:
        parts: of the layers of the gradients that they are multiplied with.
    """

    parts: tuple[Vectors, ...]

    def inner(self, gradients: Gradients) -> Tensor:
        """Inner products over all parameters, `[vector, row of gradients]`."""
        pairs = zip(self.parts, gradients.by_layer(), strict=True)
        return torch.stack([part.inner(layer) for part, layer in pairs]).sum(0)


def for_products(vectors: Vectors, count: int) -> Vectors:
    """The same vectors in the form in which products with so many gradients take the fewest operations.

    Args:
        vectors: of any form; a `Combination` is written out, layer by layer, where that is cheaper and fits into
            memory.
        count: of the gradients that they are going to be multiplied with.

    Returns:
        Vectors with the same products, but for rounding.
    """
    if not isinstance(vectors, Combination):
        return vectors
    layers = [rows.by_layer() for rows, _ in vectors.terms]
    if len({len(parts) for parts in layers}) > 1:  # some are made anew, parameter group by parameter group
        return vectors
    coefficients = [by for _, by in vectors.terms]
    terms = [tuple(zip(rows, coefficients, strict=True)) for rows in zip(*layers, strict=True)]
    sizes = [_bytes_to_write(some, count) for some in terms]
    held = accumulate(size or 0 for size in sizes)
    chosen = [size is not None and total <= WRITTEN_BYTES for size, total in zip(sizes, held, strict=True)]
    if not any(chosen):
        return vectors
    return Layers(tuple(_written(some) if it else Combination(some) for some, it in zip(terms, chosen, strict=True)))


def _bytes_to_write(terms: Sequence[Term], count: int) -> int | None:
    """Memory that one layer's vectors take as they are; None where products in factors are cheaper."""
    pairs = 0.0
    rows = count
    for gradients, by in terms:
        if not isinstance(gradients, ExplicitGradients):
            return None
        some = coefficients_of(by, gradients.names[0])
        tensors = 1 if isinstance(by, Tensor) else len(gradients.names)
        pairs += len(gradients) * count * (gradients.pair_operations + len(some) * tensors)
        rows += len(gradients)
    assert isinstance(gradients, ExplicitGradients)
    written = rows * gradients.size * (len(some) + 1)
    return len(some) * gradients.size * some.element_size() if written < pairs else None


def _written(terms: Sequence[Term]) -> Written:
    entries: dict[str, Tensor] = {}
    for gradients, by in terms:
        assert isinstance(gradients, ExplicitGradients)
        begin = 0
        for some in gradients.written():
            for name, rows in some.items():
                weights = coefficients_of(by, name)[:, begin : begin + len(rows)]
                wide = torch.promote_types(weights.dtype, rows.dtype)  # the terms of a solution nearly cancel
                product = weights.to(wide) @ rows.to(wide)
                entries[name] = entries[name].add_(product) if name in entries else product
            begin += len(rows)
    return Written(entries)


def _weighted(rows: Gradients, coefficients: Coefficients, gradients: Gradients) -> Tensor:
    if isinstance(coefficients, Tensor):
        products = rows.inner(gradients)
        wide = torch.promote_types(coefficients.dtype, products.dtype)  # the terms of a solution nearly cancel
        return coefficients.to(wide) @ products.to(wide)
    by_name = rows.inner_per_parameter(gradients)
    return torch.stack([coefficients_of(coefficients, name) @ product for name, product in by_name.items()]).sum(0)
