"""Where solvers work: coordinates of vectors, whatever they stand for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor

from fimo.gradients.base import Vectors


class LinearSystem(ABC):
    """What a solver asks of a curvature C and of the gradients that it is solved for.

    Vectors are tensors of coordinates `[coordinate, column]`, a column for each gradient.
    """

    @property
    @abstractmethod
    def rhs(self) -> Tensor:
        """The gradients."""

    @abstractmethod
    def select(self, columns: Tensor) -> Self:
        """The same for some of the gradients."""

    @abstractmethod
    def matvec(self, vectors: Tensor, batch: Tensor | None = None) -> Tensor:
        """C times vectors, C the mean over all training rows or over those in `batch`.

        Args:
            vectors: `[coordinate, column]`.
            batch: positions of training rows, `[row]`; None for all.
        """

    @abstractmethod
    def inner(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products in the space of the parameters, `[column]`.

        Args:
            left: `[coordinate, column]`.
            right: of the same shape.
        """

    @abstractmethod
    def to_gradients(self, coordinates: Tensor) -> Vectors:
        """Out of coordinates."""

    def damped(self, vectors: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """(C + λI) v of vectors v, and vᵀ(C + λI) v of each.

        Args:
            vectors: v, `[coordinate, column]`.
            damping: λ.

        Returns:
            The products, `[coordinate, column]`, and `[column]`.
        """
        products = self.matvec(vectors) + damping * vectors
        return products, self.inner(products, vectors)

    def norms(self, vectors: Tensor) -> Tensor:
        """Euclidean norms in the space of the parameters, `[column]`."""
        return self.inner(vectors, vectors).clamp(min=0).sqrt()  # rounding can make a square a little negative

    def neumann_step(self, vectors: Tensor, batch: Tensor | None, keep: float, rate: float) -> Tensor:
        """In place: vectors ← keep·vectors + gradients − rate·C vectors, C the mean over the batch.

        Args:
            vectors: `[coordinate, column]`; they are changed.
            batch: see `matvec`.
            keep: factor of the vectors.
            rate: factor of the product.
        """
        product = self.matvec(vectors, batch)
        return vectors.mul_(keep).add_(self.rhs).sub_(product, alpha=rate)
