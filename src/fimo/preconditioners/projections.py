"""Random projections S of gradients: dense, sparse, or none."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from fimo.memory import BLOCK_BYTES, DENSE_PROJECTION_ENTRIES


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
            total.addmm_(some, (signs.to(rows) * 2 - 1) * self.size**-0.5)
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
        signed = rows * (self.signs.to(rows) * 2 - 1)
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
