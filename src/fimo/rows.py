"""Rows: examples as tensors, the type that data hands to everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fimo.errors import UserError

Inputs = Tensor | Mapping[str, Tensor]


def map_inputs(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Apply `function` to the tensor, or to every tensor of the mapping, that a network takes as its input."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    return {name: function(tensor) for name, tensor in inputs.items()}


def rows_of(inputs: Inputs) -> int:
    """How many rows there are."""
    return len(inputs if isinstance(inputs, Tensor) else next(iter(inputs.values())))


@dataclass(frozen=True)
class Rows:
    """Examples with a common first axis.

    Attributes:
        inputs: what the network takes, a tensor or a mapping of tensors, each `[row, …]`.
        targets: `[row, output]` real numbers for regression, `[row]` class numbers for classification.
        index: `[row]`, each row's position in its split. It differs from 0, 1, … where only some rows are kept.
        lengths: `[row]`, for sequences `[row, place, …]` that are padded at their end: how many places of each row are
            its own. Whatever rows are taken are cut to the longest among them. None for inputs of one size.
    """

    inputs: Inputs
    targets: Tensor
    index: Tensor
    lengths: Tensor | None = None

    def __post_init__(self) -> None:
        parts = [self.inputs] if isinstance(self.inputs, Tensor) else list(self.inputs.values())
        others = (self.targets, self.index) if self.lengths is None else (self.targets, self.index, self.lengths)
        counts = [len(part) for part in (*parts, *others)]
        if len(set(counts)) > 1:
            raise UserError(f"Inputs, targets and index of rows must be equally many, found {counts}.")

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor | slice) -> tuple[Inputs, Tensor]:
        """Inputs and targets at `index`, of any shape: `[…]` gives `[…, feature]`."""
        return self.take(index, self.longest(index))

    def take(self, index: Tensor | slice, length: int | None) -> tuple[Inputs, Tensor]:
        """The same, with sequences cut to `length` places."""
        places = ... if length is None else (slice(None), slice(length))
        return map_inputs(lambda tensor: tensor[places][index], self.inputs), self.targets[index]

    def longest(self, index: Tensor | slice) -> int | None:
        """Length of the longest sequence at `index`; None for inputs of one size."""
        if self.lengths is None:
            return None
        return int(self.lengths[index.cpu() if isinstance(index, Tensor) else index].max())

    def keep(self, index: Tensor | slice) -> Rows:
        """The rows at `index`, which remember their position in the split."""
        inputs, targets = self[index]
        return Rows(inputs, targets, self.index[index], None if self.lengths is None else self.lengths[index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Rows:
        """Move to a device; real numbers are cast to `dtype`, class and token numbers stay integers."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

        return Rows(map_inputs(move, self.inputs), move(self.targets), self.index, self.lengths)
