"""Linear combinations of gradients in factors, which have no factors of their own.

Products Σ_k w_k (g_k · g) go through all pairs of rows, or the combination Σ_k w_k g_k is written out once and
multiplied as it is: which takes fewer operations depends on how many gradients it is multiplied with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from fimo.gradients.base import Coefficients, ExplicitGradients, Gradients, LazyVectors, coefficients_of
from fimo.gradients.dense import DenseGradients
from fimo.memory import WRITTEN_BYTES


@dataclass(frozen=True)
class Combination(LazyVectors):
    """Sum of linear combinations of gradients, kept as rows and coefficients.

    Attributes:
        terms: gradients and coefficients `[new row, row]`.
    """

    terms: tuple[tuple[Gradients, Coefficients], ...]

    def inner(self, gradients: Gradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of gradients]`."""
        return torch.stack([_weighted([rows], by, [gradients]) for rows, by in self.terms]).sum(0)

    def for_products(self, count: int) -> Combination | PartlyWritten:
        """Written out, layer by layer, where that is cheaper and fits into memory.

        Args:
            count: of the gradients that they are going to be multiplied with.
        """
        return _partly_written(self, count)

    def __add__(self, other: Combination | Gradients) -> Combination:
        """Row by row."""
        if isinstance(other, Combination):
            return Combination(self.terms + other.terms)
        rows = other.norms()
        return Combination((*self.terms, (other, torch.eye(len(rows), dtype=rows.dtype, device=rows.device))))


@dataclass(frozen=True)
class PartlyWritten:
    """A combination of which some layers are written out.

    Attributes:
        written: by the place of a layer, its vectors as they are.
        others: the gradients' other layers, and the coefficients, of each term.
    """

    written: Mapping[int, DenseGradients]
    others: tuple[tuple[Sequence[Gradients], Coefficients], ...]

    def inner(self, gradients: Gradients) -> Tensor:
        """Inner products over all parameters, `[vector, row of gradients]`."""
        layers = gradients.by_layer()
        parts = [_products(vectors, layers[place]) for place, vectors in self.written.items()]
        if rest := [layer for place, layer in enumerate(layers) if place not in self.written]:
            parts += [_weighted(rows, by, rest) for rows, by in self.others]
        return torch.stack(parts).sum(0)


def _partly_written(vectors: Combination, count: int) -> Combination | PartlyWritten:
    """Vectors with those layers written out whose products are cheaper so, as many as fit into memory."""
    terms = [(rows.by_layer(), by) for rows, by in vectors.terms]
    if len({len(layers) for layers, _ in terms}) > 1:  # some are made anew, parameter group by parameter group
        return vectors
    written: dict[int, DenseGradients] = {}
    left, number = WRITTEN_BYTES, len(terms[0][0])
    for place in range(number):
        layer = [(rows, by) for layers, by in terms if isinstance(rows := layers[place], ExplicitGradients)]
        if len(layer) == len(terms) and _cheaper_written(layer, count, number) and (size := _bytes_of(layer)) <= left:
            written[place], left = _written(layer), left - size
    if not written:
        return vectors
    rest = ([layer for place, layer in enumerate(layers) if place not in written] for layers, _ in terms)
    return PartlyWritten(written, tuple((rows, by) for rows, (_, by) in zip(rest, terms, strict=True)))


def _cheaper_written(terms: Sequence[tuple[ExplicitGradients, Coefficients]], count: int, layers: int) -> bool:
    """Whether one layer's vectors take fewer operations as they are than in factors.

    Coefficients that all layers have in common are multiplied with the sum of their products, once for all.
    """
    (first, coefficients), *_ = terms
    vectors, pairs, rows = len(coefficients_of(coefficients, first.names[0])), 0.0, count
    for gradients, by in terms:
        weighted = vectors / layers if isinstance(by, Tensor) else vectors * len(gradients.names)
        pairs += len(gradients) * count * (gradients.pair_operations + weighted)
        rows += len(gradients)
    return rows * first.size * (vectors + 1) < pairs


def _bytes_of(terms: Sequence[tuple[ExplicitGradients, Coefficients]]) -> int:
    """Memory that one layer's vectors take as they are."""
    (first, coefficients), *_ = terms
    some = coefficients_of(coefficients, first.names[0])
    return len(some) * first.size * some.element_size()


def _written(terms: Sequence[tuple[ExplicitGradients, Coefficients]]) -> DenseGradients:
    """One layer's vectors as they are, `[vector, entry]` for each parameter tensor."""
    entries: dict[str, Tensor] = {}
    widest = reduce(torch.promote_types, (coefficients_of(by, rows.names[0]).dtype for rows, by in terms))
    for gradients, by in terms:
        begin = 0
        for some in gradients.written():
            for name, rows in some.items():
                wide = torch.promote_types(widest, rows.dtype)  # the terms of a solution nearly cancel
                weights = coefficients_of(by, name)[:, begin : begin + len(rows)].to(wide)
                if name in entries:
                    entries[name].addmm_(weights, rows.to(wide))
                else:
                    entries[name] = weights @ rows.to(wide)
            begin += len(rows)
    return DenseGradients(entries)


def _products(vectors: DenseGradients, gradients: Gradients) -> Tensor:
    """Inner products of vectors as they are with one layer's gradients, `[vector, row of gradients]`."""
    assert isinstance(gradients, ExplicitGradients)
    parts = [
        vectors.inner(DenseGradients({name: rows.to(vectors.tensors[name]) for name, rows in some.items()}))
        for some in gradients.written()
    ]
    return torch.cat(parts, 1)


def _weighted(rows: Sequence[Gradients], coefficients: Coefficients, gradients: Sequence[Gradients]) -> Tensor:
    """Inner products of one linear combination over some layers, `[new row, row of gradients]`."""
    pairs = list(zip(rows, gradients, strict=True))
    if isinstance(coefficients, Tensor):
        products = pairs[0][0].inner(pairs[0][1])
        for mine, theirs in pairs[1:]:
            products += mine.inner(theirs)
        wide = torch.promote_types(coefficients.dtype, products.dtype)  # the terms of a solution nearly cancel
        return coefficients.to(wide) @ products.to(wide)
    by_name = {name: product for mine, theirs in pairs for name, product in mine.inner_per_parameter(theirs).items()}
    return torch.stack([coefficients_of(coefficients, name) @ product for name, product in by_name.items()]).sum(0)
