"""A network some of whose modules give outputs that are among the inputs of its rows, in place of computing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

# See `fimo.models.frozen_modules`.
from torch.utils._pytree import TreeSpec, tree_unflatten

from fimo.models.copies import copy_of
from fimo.rows import Inputs, rows_of

# How the names of stored outputs, and those of the inputs proper beside them, begin.
OUTPUT, INPUT = "stored output: ", "input: "


@dataclass(frozen=True)
class Piece:
    """A tensor of each row: an input, or an output of a module.

    Attributes:
        key: its name among the inputs of rows.
        shape: of one row, at full length.
        dtype: of it.
        has_places: whether its first axis (after that of the rows) is one of places, cut with the row's sequence.
        held: whether rows have it; zeros stand in its place where only its shape matters.
    """

    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    has_places: bool
    held: bool = True

    @property
    def row_bytes(self) -> int:
        """Memory of a row, in bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize if self.held else 0


@dataclass(frozen=True)
class Output:
    """What a module returns.

    Attributes:
        spec: its structure.
        pieces: the tensors in it, or None where it has none in a place.
    """

    spec: TreeSpec
    pieces: tuple[Piece | None, ...]

    def __deepcopy__(self, memo: Any) -> Self:
        """Itself: nothing in it changes."""
        return self

    @property
    def row_bytes(self) -> int:
        """Memory of what a row holds of it, in bytes."""
        return sum(piece.row_bytes for piece in self.pieces if piece is not None)


class StoredOutputs:
    """Takes the inputs of rows apart for a network, and gives its modules' outputs.

    Args:
        inputs: those proper, by name; the one tensor of a network that takes one has an empty name.
        outputs: of the modules, by path.
        sequences: whether rows are cut to a length: all that rows have then has an axis of places, if only of one.
    """

    def __init__(self, inputs: Mapping[str, Piece], outputs: Mapping[str, Output], sequences: bool) -> None:
        self.inputs, self.outputs, self.sequences = dict(inputs), dict(outputs), sequences
        self._given: Mapping[str, Tensor] = {}

    @property
    def held(self) -> dict[str, Piece]:
        """What rows have, by name."""
        pieces = [*self.inputs.values(), *(piece for output in self.outputs.values() for piece in output.pieces)]
        return {piece.key: piece for piece in pieces if piece is not None and piece.held}

    def begin(self, network: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Any]:
        """Before the network's forward: keep what rows have, and hand on the inputs proper.

        Args:
            network: it doesn't matter.
            arguments: the first of them is what rows have.
            keywords: handed on.

        Returns:
            Arguments and keywords.
        """
        self._given = arguments[0]
        proper = {name: self._tensor(piece) for name, piece in self.inputs.items()}
        return (proper[""] if "" in proper else proper, *arguments[1:]), keywords

    def end(self, *_: Any) -> None:
        """After the network's forward: forget the rows."""
        self._given = {}

    def output(self, path: str, *_: Any, **__: Any) -> Any:
        """In place of a module's forward.

        Args:
            path: of the module.

        Returns:
            What the module would return.
        """
        output = self.outputs[path]
        return tree_unflatten([piece and self._tensor(piece) for piece in output.pieces], output.spec)

    def _tensor(self, piece: Piece) -> Tensor:
        if piece.held:
            tensor = self._given[piece.key]
            return tensor if piece.has_places or not self.sequences else tensor.squeeze(1)
        first, shape = next(iter(self._given.values())), list(piece.shape)
        if piece.has_places:
            shape[0] = first.shape[1]  # inputs proper come first; of sequences they are held, and have places
        return torch.zeros((), dtype=piece.dtype, device=first.device).expand(rows_of(self._given), *shape)


def with_stored_outputs(network: nn.Module, stored: StoredOutputs) -> nn.Module:
    """A copy of a network, some of whose modules give stored outputs.

    Args:
        network: as it is.
        stored: the outputs.

    Returns:
        The copy, which takes what rows have; parameters and modules have the names that they had.
    """
    network = copy_of(network)
    network.register_forward_pre_hook(stored.begin, with_kwargs=True, prepend=True)
    network.register_forward_hook(stored.end, always_call=True)
    for path in stored.outputs:
        network.get_submodule(path).forward = partial(stored.output, path)
    return network


def stored_bytes(inputs: Inputs) -> int:
    """Memory of a row's stored outputs, in bytes; none where the network computes all of them.

    Args:
        inputs: of rows.
    """
    if isinstance(inputs, Tensor):
        return 0
    return sum(tensor.nbytes // len(tensor) for key, tensor in inputs.items() if key.startswith(OUTPUT))
