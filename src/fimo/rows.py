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


@dataclass(frozen=True)
class Rows:
    """Examples with a common first axis.

    Attributes:
        inputs: what the network takes, a tensor or a mapping of tensors, each `[row, …]`.
        targets: `[row, output]` real numbers for regression, `[row]` class numbers for classification.
        index: `[row]`, each row's position in its split. It differs from 0, 1, … where only some rows are kept.
    """

    inputs: Inputs
    targets: Tensor
    index: Tensor

    def __post_init__(self) -> None:
        parts = [self.inputs] if isinstance(self.inputs, Tensor) else list(self.inputs.values())
        lengths = [len(part) for part in (*parts, self.targets, self.index)]
        if len(set(lengths)) > 1:
            raise UserError(f"Inputs, targets and index of rows must be equally many, found {lengths}.")

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor | slice) -> tuple[Inputs, Tensor]:
        """Inputs and targets at `index`, of any shape: `[…]` gives `[…, feature]`."""
        return map_inputs(lambda tensor: tensor[index], self.inputs), self.targets[index]

    def keep(self, index: Tensor | slice) -> Rows:
        """The rows at `index`, which remember their position in the split."""
        inputs, targets = self[index]
        return Rows(inputs, targets, self.index[index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Rows:
        """Move to a device; real numbers are cast to `dtype`, class and token numbers stay integers."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

        return Rows(map_inputs(move, self.inputs), move(self.targets), self.index)
