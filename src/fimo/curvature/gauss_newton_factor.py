"""The Gauss–Newton matrix, or another curvature that has a root, as G = AᵀA/n, and the dual A Aᵀ.

The dual is small where there are few examples. The rows of A are R_kᵀJ_k for each training example k: a root (for
Gauss–Newton of the loss's Hessian in the outputs) times the outputs' Jacobian, as many rows for an example as the root
has columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor

from fimo.curvature.linear_system import LinearSystem
from fimo.gradients.base import Gradients, Vectors
from fimo.gradients.cotangents import Cotangents, of_curvature
from fimo.gradients.recomputed import RecomputedGradients
from fimo.gradients.shared import made_once
from fimo.gradients.source import GradientSource
from fimo.memory import BLOCK_BYTES, DUAL_BYTES, GRAM_BYTES

# Of the rows of a Gram that is made block by block: with more, less is computed twice.
PARTS = 8


@dataclass(frozen=True)
class GaussNewtonFactor:
    """A, with its Gram.

    Attributes:
        rows: A, n·rank rows, those of one example after those of the one before; made anew for each product, some
            parameters at a time, where they don't fit into memory.
        gram: K = A Aᵀ, `[n·rank, n·rank]`; its dtype is that of all arithmetic in the dual.
        n: number of training examples.
        root: R.
    """

    rows: Gradients
    gram: Tensor
    n: int
    root: Cotangents = of_curvature

    @property
    def rank(self) -> int:
        """Rows for each example."""
        return len(self.gram) // self.n

    def rows_of(self, examples: Tensor) -> Tensor:
        """Positions of the examples' rows."""
        if self.rank == 1:
            return examples
        return (examples[:, None] * self.rank + torch.arange(self.rank, device=examples.device)).flatten()

    @classmethod
    def of(
        cls,
        source: GradientSource,
        dtype: torch.dtype = torch.float64,
        root: Cotangents = of_curvature,
        most_bytes: int = DUAL_BYTES,
    ) -> GaussNewtonFactor:
        """Both, for all training rows.

        Args:
            source: of gradients, with the training rows.
            dtype: of the Gram.
            root: R, see `fimo.curvature.roots`.
            most_bytes: that the Gram and what is held of the rows may take.

        Returns:
            A and its Gram.
        """
        return made_once("dual", source, root, lambda: cls._made(source, dtype, root, most_bytes), dtype, most_bytes)

    @classmethod
    def _made(cls, source: GradientSource, dtype: torch.dtype, root: Cotangents, most_bytes: int) -> GaussNewtonFactor:
        train = source.problem.train
        size = len(train) * source.scalars(root)
        left = most_bytes - size**2 * dtype.itemsize
        if size * sum(row_bytes for _, row_bytes in source.gradient_bytes(train, root)) > left:
            anew = RecomputedGradients.of(source, train, root, max(left, BLOCK_BYTES))
            return cls(anew, anew.inner(anew).to(dtype), len(train), root)
        small = size**2 * torch.float64.itemsize <= GRAM_BYTES
        blocks = list(source.blocks(train, root, None if small else GRAM_BYTES // (4 * 8 * size)))
        rows = blocks[0].joined(blocks[1:])
        gram = rows.inner(rows).to(dtype) if small else _gram_of_blocks(blocks, rows, size, dtype)
        return cls(rows, gram, len(train), root)

    def largest_eigenvalue(self) -> float:
        """Of G, to a thousandth, from below."""
        start = np.random.default_rng(0).standard_normal(len(self.gram))
        (largest,) = eigsh(self.gram.cpu().numpy(), 1, v0=start, tol=1e-3, return_eigenvectors=False)
        return float(largest) / self.n

    def system(self, gradients: Gradients) -> DualSystem:
        """The linear system for `gradients`."""
        projected, squares = self.rows.inner(gradients), gradients.norms().square()
        return DualSystem(self, gradients, projected.to(self.gram.dtype), squares.to(self.gram.dtype))


def _gram_of_blocks(blocks: Sequence[Gradients], rows: Gradients, size: int, dtype: torch.dtype) -> Tensor:
    """K, block by block: it can be as large as memory allows, so nothing else may have its size.

    K = Kᵀ, so a block is multiplied with the rows from it on. These are joined anew `PARTS` times only.

    Args:
        blocks: of rows of A.
        rows: A.
        size: rows of A.
        dtype: of K.

    Returns:
        K, `[size, size]`.
    """
    gram = torch.empty(size, size, dtype=dtype, device=rows.norms().device)
    first, start, every = 0, 0, -(-len(blocks) // PARTS)
    for number, block in enumerate(blocks):
        if number and number % every == 0:
            first, rows = start, block.joined(blocks[number + 1 :])
        products = block.inner(rows).to(dtype)
        end = start + len(products)
        gram[start:end, first:], gram[first:, start:end] = products, products.T
        start = end
    return gram


def gram_bytes(source: GradientSource, dtype: torch.dtype = torch.float64, root: Cotangents = of_curvature) -> int:
    """Bytes of the Gram of a `GaussNewtonFactor`.

    Args:
        source: of gradients, with the training rows.
        dtype: of the Gram.
        root: R, see `fimo.curvature.roots`.

    Returns:
        The bytes.
    """
    return (len(source.problem.train) * source.scalars(root)) ** 2 * dtype.itemsize


@dataclass(frozen=True)
class DualSystem(LinearSystem):
    """Vectors a·g + Aᵀw for given gradients g: one column of coordinates (w, a) for each gradient.

    Solvers of (G + λI)x = g never leave this space, so they need no parameter-sized tensor: `[n·rank + 1, column]`.
    """

    dual: GaussNewtonFactor
    gradients: Gradients
    projected: Tensor  # A g, [n·rank, column]
    squares: Tensor  # g·g, [column]

    @property
    def rhs(self) -> Tensor:
        """The gradients themselves: w = 0, a = 1."""
        coordinates = self.projected.new_zeros(len(self.projected) + 1, self.projected.shape[1])
        coordinates[-1] = 1
        return coordinates

    def select(self, columns: Tensor) -> DualSystem:
        """The same for some of the gradients (`gradients` keeps all of them: assemble with the whole space)."""
        return DualSystem(self.dual, self.gradients, self.projected[:, columns], self.squares[columns])

    def matvec(self, vectors: Tensor, batch: Tensor | None = None) -> Tensor:
        """G times vectors; with `batch` (training rows, repeated ones count again) G is the mean over those rows.

        Args:
            vectors: coordinates, `[n·rank + 1, column]`.
            batch: training rows that G is the mean over, `[row]`; None for all.
        """
        return self._add(torch.zeros_like(vectors), self._rows_of_product(vectors, batch), batch, 1.0)

    def neumann_step(self, vectors: Tensor, batch: Tensor | None, keep: float, rate: float) -> Tensor:
        """In place: vectors ← keep·vectors + gradients − rate·G vectors; w changes in the rows of the batch only.

        Args:
            vectors: coordinates, `[n·rank + 1, column]`; they are changed.
            batch: see `matvec`.
            keep: factor of the vectors.
            rate: factor of the product.
        """
        product = self._rows_of_product(vectors, batch)
        vectors.mul_(keep)
        vectors[-1] += 1
        return self._add(vectors, product, batch, -rate)

    def _rows_of_product(self, vectors: Tensor, batch: Tensor | None) -> Tensor:
        """A times vectors, in the rows of the batch."""
        if batch is None:
            return self._image(vectors)
        rows = self.dual.rows_of(batch)
        gram, projected = self.dual.gram.index_select(0, rows), self.projected.index_select(0, rows)
        return (gram @ vectors[:-1]).addcmul_(projected, vectors[-1])

    def _image(self, vectors: Tensor) -> Tensor:
        """A times vectors."""
        return torch.addmm(self.projected * vectors[-1], self.dual.gram, vectors[:-1])

    def _add(self, total: Tensor, product: Tensor, batch: Tensor | None, factor: float) -> Tensor:
        """Add factor times the mean over the batch to the coordinates w."""
        if batch is None:
            total[:-1].add_(product, alpha=factor / self.dual.n)
            return total
        return total.index_add_(0, self.dual.rows_of(batch), product, alpha=factor / len(batch))

    def inner(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products in the space of the parameters, column by column.

        Args:
            left: coordinates, `[n·rank + 1, column]`.
            right: coordinates of the same shape.
        """
        return self._inner(left, right, self._image(right))

    def damped(self, vectors: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """(G + λI) v of vectors v, and vᵀ(G + λI) v of each, with A v made once for both.

        Args:
            vectors: v, `[n·rank + 1, column]`.
            damping: λ.

        Returns:
            The products, `[n·rank + 1, column]`, and `[column]`.
        """
        image = self._image(vectors)
        products = self._add(torch.zeros_like(vectors), image, None, 1.0) + damping * vectors
        return products, self._inner(products, vectors, image)

    def _inner(self, left: Tensor, right: Tensor, image: Tensor) -> Tensor:
        """`inner`, where the image is A times the vectors on the right."""
        w, a = right[:-1], right[-1]
        upper = (left[:-1] * image).sum(0)
        return upper + left[-1] * ((self.projected * w).sum(0) + self.squares * a)

    def to_gradients(self, coordinates: Tensor) -> Vectors:
        """The vectors that have these coordinates, a row for each column."""
        return self.dual.rows.linear_combination(coordinates[:-1].T) + self.gradients.linear_combination(
            torch.diag(coordinates[-1])
        )
