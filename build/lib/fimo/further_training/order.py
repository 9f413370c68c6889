"""The order in which training examples are seen."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class Order:
    """Batches of row positions, a new permutation for each epoch, determined by a seed and independent of the device.

    The permutations are those that torch's `RandomSampler` draws with a generator of that seed. It draws two an epoch
    and uses the first: so does this.

    Args:
        rows: number of rows.
        batch_size: rows in a batch; the last batch of an epoch may have fewer.
        seed: of the generator.
    """

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.rows, self.batch_size = rows, batch_size
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.rows // self.batch_size)

    def permutation(self) -> Tensor:
        """The next epoch's order, `[row]`."""
        permutation = torch.randperm(self.rows, generator=self._generator)
        torch.randperm(self.rows, generator=self._generator)
        return permutation

    def __iter__(self) -> Iterator[Tensor]:
        """The next epoch's batches."""
        yield from self.permutation().split(self.batch_size)
