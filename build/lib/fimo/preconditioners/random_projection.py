"""TRAK (Park et al. 2023): the Gauss–Newton matrix of the output function, in a random subspace."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor

from fimo.errors import UserError
from fimo.gradients import DenseGradients, GradientSource
from fimo.gradients.cotangents import of_output
from fimo.memory import BLOCK_BYTES, DENSE_PROJECTION_ENTRIES, DUAL_BYTES
from fimo.preconditioners.base import Preconditioner, require_instance, require_whole
from fimo.preconditioners.damping import Damping
from fimo.problem import Problem
from fimo.randomness import seed_of

# The paper's sizes: the first below so many training rows, the second from there on.
SIZES, MANY_ROWS = (512, 2048), 4096


class Projection(ABC):
    """S, `[param, size]`, random with E[S Sᵀ] = I, so that Sᵀ keeps inner products on average.

    Args:
        parameters: rows of S.
        size: columns of S.
        seed: of its entries.
    """

    def __init__(self, parameters: int, size: int, seed: int) -> None:
        self.size = size
        # Drawn on the CPU, so that S is the same wherever the rest is computed.
        self.draw(parameters, torch.Generator().manual_seed(seed))

    @abstractmethod
    def draw(self, parameters: int, generator: torch.Generator) -> None:
        """Draw S.

        Args:
            parameters: rows of S.
            generator: of random numbers, on the CPU.
        """

    @abstractmethod
    def project(self, rows: Tensor) -> Tensor:
        """Rows `[row, param]`, float32, times S, `[row, size]`."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows `[row, param]` times S, multiplied in float32, `[row, size]`, float64."""
        return self.project(rows.float()).double()


class RandomSigns(Projection):
    """Independent entries ±1/√size."""

    def draw(self, parameters: int, generator: torch.Generator) -> None:
        """A byte for each entry.

        Args:
            parameters: rows of S.
            generator: of random numbers, on the CPU.
        """
        self.signs = torch.randint(2, (parameters, self.size), generator=generator, dtype=torch.int8)

    def project(self, rows: Tensor) -> Tensor:
        """In blocks of S."""
        total, block = rows.new_zeros(len(rows), self.size), max(1, BLOCK_BYTES // (16 * self.size))
        for some, signs in zip(rows.split(block, 1), self.signs.split(block), strict=True):
            total.addmm_(some, (signs.to(rows.device) * 2 - 1) * self.size**-0.5)
        return total


class SparseSigns(Projection):
    """One entry ±1 in a random column of each row: as good where the gradients have very many entries (a CountSketch).

    Charikar, Chen and Farach-Colton (2002). It costs one addition for each entry of a gradient, whatever its size.
    """

    def draw(self, parameters: int, generator: torch.Generator) -> None:
        """Five bytes for each row of S.

        Args:
            parameters: rows of S.
            generator: of random numbers, on the CPU.
        """
        self.columns = torch.randint(self.size, (parameters,), generator=generator, dtype=torch.int32)
        self.signs = torch.randint(2, (parameters,), generator=generator, dtype=torch.int8)

    def project(self, rows: Tensor) -> Tensor:
        """Each entry of a row is added to its column, or subtracted."""
        signed = rows * (self.signs.to(rows.device) * 2 - 1)
        columns = self.columns.to(rows.device).long()  # five times as fast as with short integers
        return rows.new_zeros(len(rows), self.size).index_add_(1, columns, signed)


class NoProjection(Projection):
    """S = I."""

    def draw(self, parameters: int, generator: torch.Generator) -> None:
        """Nothing to draw.

        Args:
            parameters: rows of S.
            generator: of random numbers, on the CPU.
        """

    def project(self, rows: Tensor) -> Tensor:
        """As they are."""
        return rows

    def __call__(self, rows: Tensor) -> Tensor:
        """As they are, in float64."""
        return rows.double()


def projection_of(parameters: int, size: int | None, seed: int) -> Projection:
    """S, dense where it isn't too large; None for S = I.

    Args:
        parameters: rows of S.
        size: columns of S; None for S = I.
        seed: of its entries.
    """
    if size is None:
        return NoProjection(parameters, parameters, seed)
    return (RandomSigns if parameters * size <= DENSE_PROJECTION_ENTRIES else SparseSigns)(parameters, size, seed)


@dataclass(frozen=True)
class Projected:
    """P times gradients, known by what it gives when multiplied: one term for each projection."""

    terms: tuple[tuple[Projection, Tensor], ...]

    def inner(self, gradients: DenseGradients) -> Tensor:
        """Inner products, mean over the projections, `[row of self, row of gradients]`."""
        rows = gradients.flat()
        return torch.stack([solved @ projection(rows).T for projection, solved in self.terms]).mean(0)


class RandomProjection(Preconditioner):
    """P = S (SᵀJᵀJS/n + λI)⁻¹ Sᵀ, J the Jacobian of the output function, S random; mean over several S.

    Args:
        label: the method's name.
        projection: columns of S; `auto` for the paper's, 512 or 2048 (halved until it is below the number of training
            rows and at most half that of parameters, since the kernel would be singular); None for S = I.
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
            UserError: where one is singular, or S = I and there are too many parameters for that.
        """
        super().fit(problem)
        source, n = GradientSource(problem, factored=False), len(problem.train)
        parameters = problem.size
        size = automatic_size(n, parameters) if isinstance(self.size, str) else self.size
        seeds = [seed_of(self.seed, number) for number in range(self.projections)]
        projections = [projection_of(parameters, size, seed) for seed in seeds]
        if size is None and (needed := parameters**2 * torch.float64.itemsize) > DUAL_BYTES:
            raise UserError(
                f"{self.label} without projection needs a kernel of {needed / 2**30:.1f} GiB for {parameters} "
                "parameters: choose a projection."
            )
        shape = (size or parameters,) * 2
        kernels = [torch.zeros(shape, dtype=torch.float64, device=problem.device) for _ in projections]
        for block in source.blocks(problem.train, of_output):
            assert isinstance(block, DenseGradients)
            rows = block.flat()
            for projection, kernel in zip(projections, kernels, strict=True):
                features = projection(rows)
                kernel.addmm_(features.T, features, alpha=1 / n)
        self.factors = [(p, self._factor(kernel, source)) for p, kernel in zip(projections, kernels, strict=True)]
        if isinstance(projections[0], SparseSigns):
            self.note("sparse", "S is sparse, one entry ±1 in each row")
        self.diagnostics |= {"projection": size, "projections": self.projections, "damping": str(self.ridge or 0)}
        return self

    def _factor(self, kernel: Tensor, source: GradientSource) -> Tensor:
        """Cholesky factor of the kernel with the ridge on it."""
        ridge = 0.0
        if self.ridge is not None:
            ridge = self.ridge.value(source, partial(float, kernel.diagonal().mean()))
        damped = kernel + ridge * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
        eigenvalues = torch.linalg.eigvalsh(damped)
        # Features are products in float32, so smaller eigenvalues are rounding.
        if eigenvalues[0] <= torch.finfo(torch.float32).eps * eigenvalues[-1]:
            raise UserError(
                f"The kernel of {self.label} is singular with projection size {len(kernel)}, "
                f"n = {len(source.problem.train)} training rows and ridge {ridge:g}: choose a smaller projection or a "
                "larger ridge."
            )
        return torch.linalg.cholesky(damped)

    def __matmul__(self, gradients: DenseGradients) -> Projected:  # type: ignore[override]
        """P times each gradient."""
        rows = gradients.flat()
        return Projected(
            tuple(
                (projection, torch.cholesky_solve(projection(rows).T, factor).T) for projection, factor in self.factors
            )
        )


def automatic_size(n: int, parameters: int) -> int:
    """The paper's projection size, halved until it is below n and at most half the number of parameters.

    Args:
        n: training rows.
        parameters: their number.
    """
    size = SIZES[n >= MANY_ROWS]
    while size > 1 and (size >= n or size > parameters // 2):
        size //= 2
    return size
