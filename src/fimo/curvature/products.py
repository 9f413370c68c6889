"""Curvature of the mean training loss at θ_f, as products with columns, dual or primal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fimo.curvature.gauss_newton_factor import GaussNewtonFactor, gram_bytes
from fimo.curvature.linear_system import LinearSystem
from fimo.curvature.matrix_products import matrix_product
from fimo.curvature.roots import CURVATURES
from fimo.errors import MethodFailed, lacks_derivative, short
from fimo.gradients.dense import DenseGradients
from fimo.gradients.diagonal_metric import DiagonalMetric
from fimo.gradients.footprint import activation_bytes, used_parameters
from fimo.gradients.source import GradientSource
from fimo.memory import BLOCK_BYTES, DUAL_BYTES
from fimo.problem import Problem


@dataclass(frozen=True)
class PrimalSystem(LinearSystem):
    """Vectors as they are, `[param, column]`."""

    curvature: PrimalCurvature
    gradients: Tensor

    @property
    def rhs(self) -> Tensor:
        """The gradients, `[param, column]`."""
        return self.gradients

    def select(self, columns: Tensor) -> PrimalSystem:
        """The same for some of the gradients."""
        return PrimalSystem(self.curvature, self.gradients[:, columns])

    def matvec(self, vectors: Tensor, batch: Tensor | None = None) -> Tensor:
        """C times vectors, C the mean over all training rows or over those in `batch`.

        Args:
            vectors: `[param, column]`.
            batch: positions of training rows, `[row]`; None for all.
        """
        return self.curvature.matvec(vectors, batch)

    def inner(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products, `[column]`.

        Args:
            left: `[param, column]`.
            right: of the same shape.
        """
        return (left * right).sum(0)

    def to_gradients(self, coordinates: Tensor) -> DenseGradients:
        """As gradients, a row for each column."""
        return DenseGradients.of_flat(coordinates.T, self.curvature.problem.parameters)


@dataclass(frozen=True)
class PrimalCurvature:
    """A curvature of any network, by products of mini-batches with all columns at once (curvlinops).

    Attributes:
        problem: the question.
        kind: one of `CURVATURES`.
        block_bytes: bound on the memory of the activations of one mini-batch for all columns.
    """

    problem: Problem
    kind: str
    block_bytes: int = BLOCK_BYTES
    _product: Callable = field(init=False, repr=False)
    _used: dict[str, nn.Parameter] = field(init=False, repr=False)
    _row_bytes: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        used = used_parameters(self.problem)
        arguments = (self.problem.network, self.problem.objective, tuple(used.values()))
        object.__setattr__(self, "_used", used)
        object.__setattr__(self, "_product", matrix_product(self.kind)(*arguments))
        object.__setattr__(self, "_row_bytes", activation_bytes(self.problem))

    def system(self, gradients: DenseGradients) -> PrimalSystem:
        """The linear system for `gradients`."""
        return PrimalSystem(self, gradients.flat().T)

    def matvec(self, vectors: Tensor, batch: Tensor | None = None) -> Tensor:
        """C times vectors `[param, column]`.

        Args:
            vectors: `[param, column]`.
            batch: positions of training rows, `[row]`; None for all.
        """
        columns, parameters = vectors.shape[1], self.problem.parameters
        # Each column lies in one piece of memory, in the result too: products of many columns are twice as fast so.
        blocks = DenseGradients.of_flat(vectors.T.contiguous(), parameters).tensors
        columns_last = [blocks[name].movedim(0, -1) for name in self._used]
        rows = torch.arange(len(self.problem.train)) if batch is None else batch
        total = {name: torch.zeros_like(block) for name, block in blocks.items()}
        for some in rows.split(max(1, self.block_bytes // (self._row_bytes * columns))):
            for name, part in zip(self._used, self._multiply(some, columns_last), strict=True):
                total[name].add_(part.movedim(-1, 0), alpha=len(some) / len(rows))
        return DenseGradients(total).flat().T

    def _multiply(self, rows: Tensor, columns: list[Tensor]) -> tuple[Tensor, ...]:
        try:
            return self._product(*self.problem.train[rows], *columns)
        except RuntimeError as reason:
            if not lacks_derivative(reason):
                raise
            raise MethodFailed(
                f"The curvature ({self.kind}) of the network {type(self.problem.network).__name__} can't be multiplied "
                f"by a vector: torch has no derivative for a part of it or of the loss ({short(reason)}); choose a "
                "method without curvature products."
            ) from reason


@dataclass(frozen=True)
class Curvature:
    """A curvature with the gradients that go with it.

    Attributes:
        source: gradients in the form that `system` takes.
        form: the factor, where its Gram fits into memory, or else the products.
    """

    source: GradientSource
    form: GaussNewtonFactor | PrimalCurvature

    def system(self, gradients: Any) -> LinearSystem:
        """The linear system that is solved for `gradients`."""
        return self.form.system(gradients)

    @property
    def dual(self) -> GaussNewtonFactor | None:
        """The factor whose system it is; None where the system is primal."""
        return self.form if isinstance(self.form, GaussNewtonFactor) else None

    @property
    def primal(self) -> PrimalCurvature | None:
        """The products whose system it is; None where the system is dual."""
        return self.form if isinstance(self.form, PrimalCurvature) else None

    @property
    def narrow(self) -> bool:
        """Whether it is a dual that fits in float32 only."""
        return self.dual is not None and self.dual.gram.dtype == torch.float32

    @property
    def path(self) -> str:
        """`dual`, `dual in float32` or `primal`."""
        return "primal" if self.primal else "dual in float32" if self.narrow else "dual"


def curvature(
    problem: Problem, kind: str, dual_bytes: int = DUAL_BYTES, metric: DiagonalMetric | None = None
) -> Curvature:
    """The cheapest right way to multiply with a curvature.

    The dual, where the curvature has a root and the Gram fits into `dual_bytes`, in float64 or else in float32.

    Args:
        problem: network, objective and training rows.
        kind: one of `CURVATURES`.
        dual_bytes: bound on the memory of the dual's Gram, and of it with the rows where these are held.
        metric: in whose coordinates; None for those of θ itself.

    Returns:
        The curvature with the gradients that go with it.
    """
    coordinates = metric.gradients if metric else None
    if (root := CURVATURES[kind]) is not None:
        source = GradientSource(problem, coordinates=coordinates)
        for dtype in (torch.float64, torch.float32):
            if gram_bytes(source, dtype, root) <= dual_bytes:
                return Curvature(source, GaussNewtonFactor.of(source, dtype, root, dual_bytes))
    source = GradientSource(problem, factored=False, coordinates=coordinates)
    return Curvature(source, PrimalCurvature(metric.rescaled(problem) if metric else problem, kind))


def ritz_values(curvature: PrimalCurvature, steps: int = 30, seed: int = 0) -> Tensor:
    """Ritz values of a Krylov space from a random vector, ascending: all eigenvalues lie around them.

    Args:
        curvature: C.
        steps: dimension of the space, at the most.
        seed: of the vector.

    Raises:
        MethodFailed: where the products are those of no symmetric matrix: torch's second derivatives are wrong then.
    """
    problem = curvature.problem
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(problem.size, 1, generator=generator, dtype=torch.float64).to(problem.device, problem.dtype)
    eps = torch.finfo(problem.dtype).eps
    basis, images = vector[:, :0], vector[:, :0]
    for _ in range(min(steps, problem.size)):
        before = torch.linalg.vector_norm(vector)
        for _ in range(2):  # once is not orthogonal to rounding
            vector = vector - basis @ (basis.T @ vector)
        norm = torch.linalg.vector_norm(vector)
        if norm <= 1000 * eps * before:  # the space is exhausted, what is left is rounding
            break
        basis = torch.cat([basis, vector / norm], 1)
        vector = curvature.matvec(basis[:, -1:])
        images = torch.cat([images, vector], 1)
    projected = basis.T @ images
    if (projected - projected.T).abs().max() > eps**0.4 * projected.abs().max():
        raise MethodFailed(
            f"torch's second derivatives of the network {type(problem.network).__name__} are wrong: its "
            "Hessian isn't symmetric. Choose a method without the Hessian."
        )
    return torch.linalg.eigvalsh((projected + projected.T) / 2)
