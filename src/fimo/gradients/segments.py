"""The factors of gradients at places, for some rows that have as many places each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """Some rows of gradients at places, padded to the same number of places.

    Attributes:
        inputs: a, `[row, place, fan-in]`; for an embedding the numbers of its rows, `[row, place]`, integers.
        deltas: δ, `[row, place, fan-out]`.
    """

    inputs: Tensor
    deltas: Tensor

    def pieces(self, rows: int) -> Iterator[Segment]:
        """The same, so many rows at a time."""
        for inputs, deltas in zip(self.inputs.split(rows), self.deltas.split(rows), strict=True):
            yield Segment(inputs, deltas)
