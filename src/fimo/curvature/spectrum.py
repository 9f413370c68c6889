"""The eigendecomposition of the Gauss–Newton matrix, or of another curvature that has a root, on its smaller side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from fimo.curvature.gauss_newton_factor import GaussNewtonFactor
from fimo.gradients.base import Prepared
from fimo.gradients.cotangents import Cotangents, of_curvature
from fimo.gradients.dense import DenseGradients
from fimo.gradients.shared import made_once
from fimo.gradients.source import GradientSource
from fimo.gradients.training_set import jvp_over_training_set, vjp_over_training_set
from fimo.memory import DUAL_BYTES
from fimo.problem import Parameters, Problem


@dataclass(frozen=True)
class Spectrum(ABC):
    """The eigenvalues and eigenvectors of G = AᵀA/n, the latter as linear combinations of the rows of a matrix B.

    Attributes:
        eigenvalues: σ, ascending, at least 0; G has no others but 0.
        vectors: U, in columns: BᵀU are eigenvectors of G, of length √(nσ).
        n: number of training examples.
        root: R of A, see `fimo.curvature.roots`.
    """

    eigenvalues: Tensor
    vectors: Tensor
    n: int
    root: Cotangents

    @classmethod
    def of(cls, source: GradientSource, root: Cotangents = of_curvature, most_bytes: int = DUAL_BYTES) -> Self:
        """The eigendecomposition over all training rows.

        Args:
            source: of gradients, with the training rows.
            root: R, see `fimo.curvature.roots`.
            most_bytes: that the matrix and what is held of the rows may take.

        Returns:
            The eigendecomposition.
        """
        return made_once(cls.__name__, source, root, lambda: cls._made(source, root, most_bytes), most_bytes)

    @classmethod
    @abstractmethod
    def _made(cls, source: GradientSource, root: Cotangents, most_bytes: int) -> Self:
        """It, from nothing."""

    @abstractmethod
    def image(self, gradients: Any) -> Tensor:
        """B g, `[row of B, gradient]`, in float64."""

    @abstractmethod
    def image_of_vector(self, vector: Parameters, problem: Problem) -> Tensor:
        """B v, `[row of B]`.

        Args:
            vector: v, by parameter.
            problem: whose training rows these are.
        """

    @abstractmethod
    def back(self, weights: Tensor, problem: Problem) -> DenseGradients:
        """Bᵀw of each w, as it is.

        Args:
            weights: w in columns, `[row of B, vector]`.
            problem: whose training rows these are.

        Returns:
            A row for each vector.
        """

    def coordinates(self, gradients: Any) -> Tensor:
        """UᵀB g, `[eigenvalue, gradient]`: √(nσ) times the component along each eigenvector of G."""
        return self.vectors.T @ self.prepared(gradients).made

    def prepared(self, gradients: Any) -> Prepared[Tensor]:
        """Gradients with B g of each, with which all products with functions of G begin."""
        return gradients if isinstance(gradients, Prepared) else Prepared(gradients, self.image(gradients))


@dataclass(frozen=True)
class DualSpectrum(Spectrum):
    """B = A, by the eigendecomposition U Σ Uᵀ of K/n, K = AAᵀ of n·rank rows.

    Attributes:
        dual: A, with its Gram K.
    """

    dual: GaussNewtonFactor

    @classmethod
    def _made(cls, source: GradientSource, root: Cotangents, most_bytes: int) -> Self:
        dual = GaussNewtonFactor.of(source, root=root, most_bytes=most_bytes)
        eigenvalues, vectors = torch.linalg.eigh(dual.gram / dual.n)
        return cls(eigenvalues.clamp(min=0), vectors, dual.n, root, dual)

    def image(self, gradients: Any) -> Tensor:
        """A g, `[n·rank, gradient]`."""
        return self.dual.rows.inner(gradients).double()

    def image_of_vector(self, vector: Parameters, problem: Problem) -> Tensor:
        """A v, by forward differentiation.

        Args:
            vector: v, by parameter.
            problem: see `Spectrum`.
        """
        return jvp_over_training_set(problem, vector, self.root).to(self.vectors)

    def back(self, weights: Tensor, problem: Problem) -> DenseGradients:
        """Aᵀw: of rows as they are a product, else a backward pass over the training set for each vector.

        Args:
            weights: see `Spectrum`.
            problem: see `Spectrum`.

        Returns:
            A row for each vector.
        """
        if isinstance(self.dual.rows, DenseGradients):
            return self.dual.rows.linear_combination(weights.T)
        vectors = [vjp_over_training_set(problem, weight, self.root) for weight in weights.T]
        return DenseGradients({name: torch.stack([each[name] for each in vectors]) for name in vectors[0]})


@dataclass(frozen=True)
class PrimalSpectrum(Spectrum):
    """B = I, by the eigendecomposition V Σ Vᵀ of G itself, U = V √(nΣ): where θ has fewer parameters than A rows.

    Gradients are as they are.
    """

    @classmethod
    def _made(cls, source: GradientSource, root: Cotangents, most_bytes: int) -> Self:
        size, n = source.problem.size, len(source.problem.train)
        G = torch.zeros(size, size, dtype=torch.float64, device=source.problem.device)
        for block in source.blocks(source.problem.train, root):
            assert isinstance(block, DenseGradients)
            rows = block.flat().double()
            G.addmm_(rows.T, rows, alpha=1 / n)
        eigenvalues, vectors = torch.linalg.eigh(G)
        eigenvalues = eigenvalues.clamp(min=0)
        return cls(eigenvalues, vectors * (n * eigenvalues).sqrt(), n, root)

    def image(self, gradients: Any) -> Tensor:
        """g, `[param, gradient]`."""
        return gradients.flat().T.double()

    def image_of_vector(self, vector: Parameters, problem: Problem) -> Tensor:
        """v, `[param]`.

        Args:
            vector: v, by parameter.
            problem: see `Spectrum`.
        """
        return torch.cat([vector[name].flatten() for name in problem.parameters]).to(self.vectors)

    def back(self, weights: Tensor, problem: Problem) -> DenseGradients:
        """W by parameter.

        Args:
            weights: see `Spectrum`.
            problem: see `Spectrum`.

        Returns:
            A row for each vector.
        """
        return DenseGradients.of_flat(weights.T.to(problem.dtype), problem.parameters)


def is_smaller_in_parameters(source: GradientSource, root: Cotangents = of_curvature) -> bool:
    """Whether θ has fewer parameters than A has rows.

    Args:
        source: of gradients, with the training rows.
        root: R, see `fimo.curvature.roots`.
    """
    return source.problem.size < len(source.problem.train) * source.scalars(root)
