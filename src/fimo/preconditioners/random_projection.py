"""TRAK (Park et al. 2023): the Gauss–Newton matrix of the output function, in a random subspace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Self

import torch
from torch import Tensor

from fimo.errors import MethodFailed
from fimo.gradients import DenseGradients, GradientSource
from fimo.gradients.base import Prepared
from fimo.gradients.cotangents import of_output
from fimo.memory import DUAL_BYTES, available_memory, free_memory
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.projections import Projection, SparseSigns, projection_of
from fimo.preconditioners.settings import require_instance, require_whole
from fimo.problem import Problem
from fimo.randomness import seed_of

Featured = Prepared[list[Tensor]]  # gradients, and Sᵀg for each projection
# The paper's sizes: the first below so many training rows, the second from there on.
SIZES, MANY_ROWS = (512, 2048), 4096


@dataclass(frozen=True)
class Projected:
    """P times gradients, known by what it gives when multiplied.

    Attributes:
        features: Sᵀg of any gradients, `[row, size]` for each projection.
        solved: (SᵀJᵀJS/n + λI)⁻¹ Sᵀg of these, likewise.
    """

    features: Callable[[DenseGradients | Featured], list[Tensor]]
    solved: list[Tensor]

    def inner(self, gradients: DenseGradients | Featured) -> Tensor:
        """Inner products, mean over the projections, `[row of self, row of gradients]`."""
        features = self.features(gradients)
        return torch.stack([solved @ f.T for solved, f in zip(self.solved, features, strict=True)]).mean(0)


@dataclass(frozen=True)
class Kernel:
    """SᵀJᵀJS/n + λI of one projection.

    Attributes:
        projection: S.
        damped: the matrix, `[size, size]`, float64.
        ridge: λ.
    """

    projection: Projection
    damped: Tensor
    ridge: float

    @cached_property
    def rank(self) -> int:
        """How many eigenvalues are more than rounding: features are products in float32."""
        eigenvalues = torch.linalg.eigvalsh(self.damped)
        return len(eigenvalues) - int((eigenvalues <= torch.finfo(torch.float32).eps * eigenvalues[-1]).sum())


class RandomProjection(Preconditioner):
    """P = S (SᵀJᵀJS/n + λI)⁻¹ Sᵀ, J the Jacobian of the output function, S random; mean over several S.

    This is TRAK (Park et al. 2023, arXiv 2303.14186). `fit` raises `MethodFailed` where the kernel is
    singular, or without a projection where there are too many parameters.

    Args:
        label: the method's name.
        projection: columns of S; `auto` for the paper's, 512 or 2048 (halved until it is below the number of training
            rows, at most half that of parameters, and at most the rank of the features, since the kernel would be
            singular); None for S = I.
        ridge: λ, `mean_eigenvalue` being the kernel's; None for none.
        projections: how many S are averaged: the scores of one are mostly noise.
        seed: of the S.
        phi: see `Preconditioner`.
    """

    factored = False
    dtype = torch.float32  # of the gradients; features and kernels are float64

    def __init__(
        self,
        label: str,
        projection: int | str | None = "auto",
        ridge: Damping | None = None,
        projections: int = 1,
        seed: int = 0,
        phi: str = "raw",
    ) -> None:
        super().__init__(label, phi)
        if projection is not None and projection != "auto":
            require_whole(f"projection of {label}", projection)
        self.size = projection
        self.projections = require_whole(f"projections of {label}", projections)
        self.ridge = None if ridge is None else require_instance(Damping, f"ridge of {label}", ridge)
        self.seed = require_whole(f"seed of {label}", seed, least=0)

    def fit(self, problem: Problem) -> Self:
        """The kernels of all projections, factored.

        Raises:
            MethodFailed: where one is singular, or S = I and there are too many parameters for that.
        """
        super().fit(problem)
        source = GradientSource(problem, factored=False)
        size: int | None
        if isinstance(self.size, str):
            size, kernels = self._automatic(source)
        else:
            size, kernels = self.size, self._kernels(source, self.size)
        self.factors = [(kernel.projection, self._factor(kernel, len(problem.train))) for kernel in kernels]
        if isinstance(kernels[0].projection, SparseSigns):
            self.note("sparse", "S is sparse, one entry ±1 in each row")
        self.diagnostics |= {"projection": size, "projections": self.projections, "damping": str(self.ridge or 0)}
        return self

    def _automatic(self, source: GradientSource) -> tuple[int, list[Kernel]]:
        """The automatic size and its kernels; the size is halved as long as they are singular."""
        size = automatic_size(len(source.problem.train), source.problem.size)
        kernels = self._kernels(source, size)
        while size > 1 and (rank := min(kernel.rank for kernel in kernels)) < size:
            size = halved(size, rank)
            self.note("rank", f"projection size {size}, since the features of the training rows have rank {rank} only")
            kernels = self._kernels(source, size)
        return size, kernels

    def _kernels(self, source: GradientSource, size: int | None) -> list[Kernel]:
        """The kernels of all projections to a size, with the ridge on them."""
        problem = source.problem
        parameters, n = problem.size, len(problem.train)
        if size is None and (needed := parameters**2 * torch.float64.itemsize) > DUAL_BYTES:
            raise MethodFailed(
                f"{self.label} without projection needs a kernel of {needed / 2**30:.1f} GiB for {parameters} "
                "parameters: choose a projection."
            )
        self._require_memory(size, problem)
        shape = (size or parameters,) * 2
        seeds = [seed_of(self.seed, number) for number in range(self.projections)]
        projections = [projection_of(parameters, size, seed) for seed in seeds]
        kernels = [torch.zeros(shape, dtype=torch.float64, device=problem.device) for _ in projections]
        for block in source.blocks(problem.train, of_output):
            assert isinstance(block, DenseGradients)
            rows = block.flat()
            for projection, kernel in zip(projections, kernels, strict=True):
                features = projection(rows)
                kernel.addmm_(features.T, features, alpha=1 / n)
        return [
            self._damped(projection, kernel, source) for projection, kernel in zip(projections, kernels, strict=True)
        ]

    def _require_memory(self, size: int | None, problem: Problem) -> None:
        """Refuse a size whose kernels alone are more than the memory that there is."""
        needed = self.projections * (size or 0) ** 2 * torch.float64.itemsize
        free = free_memory(problem.device) if problem.device.type == "cuda" else available_memory()
        if needed > free:
            raise MethodFailed(
                f"{self.label} needs {needed / 2**30:.3g} GiB for the kernels of projection size {size}, more than the "
                f"{free / 2**30:.3g} GiB that are free: choose a smaller projection."
            )

    def _damped(self, projection: Projection, kernel: Tensor, source: GradientSource) -> Kernel:
        ridge = 0.0
        if self.ridge is not None:
            ridge = self.ridge.value(source, partial(float, kernel.diagonal().mean()))
        identity = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
        return Kernel(projection, kernel + ridge * identity, ridge)

    def _factor(self, kernel: Kernel, n: int) -> Tensor:
        """Cholesky factor of a kernel of n training rows."""
        if kernel.rank < len(kernel.damped):
            raise MethodFailed(
                f"The kernel of {self.label} is singular with projection size {len(kernel.damped)}, n = {n} training "
                f"rows and ridge {kernel.ridge:g}: choose a smaller projection or a larger ridge."
            )
        return torch.linalg.cholesky(kernel.damped)

    def __matmul__(self, gradients: DenseGradients) -> Projected:  # type: ignore[override]
        """P times each gradient."""
        pairs = zip(self.features(gradients), self.factors, strict=True)
        return Projected(self.features, [torch.cholesky_solve(f.T, factor).T for f, (_, factor) in pairs])

    def for_both(self, gradients: DenseGradients) -> Featured:
        """The gradients, and Sᵀg for each projection: both products begin there."""
        return Prepared(gradients, self.features(gradients))

    def quadratic_form(self, gradients: DenseGradients | Featured) -> Tensor:
        """The mean over the projections of ‖L⁻¹ Sᵀg‖², LLᵀ = SᵀJᵀJS/n + λI, `[row]`."""
        pairs = zip(self.features(gradients), self.factors, strict=True)
        solved = (torch.linalg.solve_triangular(factor, f.T, upper=False) for f, (_, factor) in pairs)
        return torch.stack([columns.square().sum(0) for columns in solved]).mean(0)

    def features(self, gradients: DenseGradients | Featured) -> list[Tensor]:
        """Sᵀg for each projection, `[row, size]`."""
        if isinstance(gradients, Prepared):
            return gradients.made
        rows = gradients.flat()
        return [projection(rows) for projection, _ in self.factors]


def automatic_size(n: int, parameters: int) -> int:
    """The paper's projection size, halved until it is below n and at most half the number of parameters.

    Args:
        n: training rows.
        parameters: their number.
    """
    return halved(SIZES[n >= MANY_ROWS], min(n - 1, parameters // 2))


def halved(size: int, most: int) -> int:
    """A size, halved until it is at most `most`; at least 1.

    Args:
        size: to begin with.
        most: the bound.
    """
    while size > max(1, most):
        size //= 2
    return size
