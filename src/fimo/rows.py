"""Rows: examples as tensors, the type that data hands to everything else, made of what a caller has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fimo.errors import UserError
from fimo.examples import as_tensor, described, parts_of
from fimo.row_weights import packed, require_weights, unpacked

Inputs = Tensor | Mapping[str, Tensor]
# The label of a token that carries no loss, as in the transformers library: one of a prompt, or of padding.
NO_LOSS = -100


def map_inputs(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Inputs with every tensor replaced by a function of it.

    Args:
        function: of a tensor.
        inputs: the tensor, or the mapping of tensors, that a network takes.
    """
    if isinstance(inputs, Tensor):
        return function(inputs)
    return {name: function(tensor) for name, tensor in inputs.items()}


def by_name(inputs: Inputs, single: str = "inputs") -> Mapping[str, Tensor]:
    """Inputs as a mapping of tensors.

    Args:
        inputs: the tensor, or the mapping of tensors, that a network takes.
        single: the name that a tensor gets that is not in a mapping.
    """
    return {single: inputs} if isinstance(inputs, Tensor) else inputs


def is_positional(inputs: Inputs) -> bool:
    """Whether inputs are several without names, which a network takes by position: their keys are 0, 1 and so on."""
    return not isinstance(inputs, Tensor) and list(inputs) == [str(place) for place in range(len(inputs))]


def rows_of(inputs: Inputs) -> int:
    """Number of rows."""
    return len(next(iter(by_name(inputs).values())))


@dataclass(frozen=True)
class Rows:
    """Examples with a common first axis.

    Attributes:
        inputs: what the network takes, a tensor or a mapping of tensors, each `[row, …]`.
        targets: `[row, output]` real numbers for regression, `[row]` class numbers for classification, `[row, place]`
            labels for language models; of rows with weights each row's targets in one axis and its weight behind them
            (see `weighted_by`).
        index: `[row]`, each row's position in its split. It differs from 0, 1, … where only some rows are kept.
        lengths: `[row]`, for sequences `[row, place, …]` that are padded at their end: how many places of each row are
            its own. Whatever rows are taken are cut to the longest among them. None for inputs of one size.
        target_shape: of one row's targets, where its weight stands behind them; None for rows without weights.

    Raises:
        UserError: where they are not equally many.
    """

    inputs: Inputs
    targets: Tensor
    index: Tensor
    lengths: Tensor | None = None
    target_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        others = (self.targets, self.index) if self.lengths is None else (self.targets, self.index, self.lengths)
        counts = [len(part) for part in (*by_name(self.inputs).values(), *others)]
        if len(set(counts)) > 1:
            raise UserError(f"Inputs, targets and index of rows must be equally many, found {counts}.")

    def __repr__(self) -> str:
        parts = {**by_name(self.inputs), "targets": self.targets}
        shapes = (f"{name} {[*part.shape]}" for name, part in parts.items())
        return f"Rows({', '.join(shapes)})"

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor | slice) -> tuple[Inputs, Tensor]:
        """Inputs and targets at `index`, of any shape: `[…]` gives `[…, feature]`."""
        return self.take(index, self.longest(index))

    def take(self, index: Tensor | slice, length: int | None) -> tuple[Inputs, Tensor]:
        """Inputs and targets at `index`, sequences cut to a length.

        Args:
            index: positions, of any shape `[…]`.
            length: places that are kept of each sequence; None for inputs of one size.

        Returns:
            Inputs `[…, feature]` and targets `[…]` or `[…, output]`.
        """
        places = ... if length is None else (slice(None), slice(length))
        return map_inputs(lambda tensor: tensor[places][index], self.inputs), self.targets[index]

    def longest(self, index: Tensor | slice) -> int | None:
        """Length of the longest sequence at `index`; None for inputs of one size."""
        if self.lengths is None:
            return None
        return int(self.lengths[index.cpu() if isinstance(index, Tensor) else index].max())

    def keep(self, index: Tensor | slice) -> Rows:
        """The rows at `index`, which remember their position in the split; themselves where they are all in order."""
        if isinstance(index, Tensor) and torch.equal(index.cpu(), torch.arange(len(self))):
            return self
        inputs, targets = self[index]
        lengths = None if self.lengths is None else self.lengths[index]
        return replace(self, inputs=inputs, targets=targets, index=self.index[index], lengths=lengths)

    @property
    def weights(self) -> Tensor | None:
        """How often each row counts in training, `[row]`; None where each counts once."""
        return None if self.target_shape is None else unpacked(self.targets, self.target_shape)[1]

    @property
    def plain(self) -> Rows:
        """The rows without weights."""
        if self.target_shape is None:
            return self
        return replace(self, targets=unpacked(self.targets, self.target_shape)[0], target_shape=None)

    def weighted_by(self, weights: Tensor | None) -> Rows:
        """The rows with weights, which the targets carry: no loss is taken without them, see `fimo.models.weighted`.

        Args:
            weights: w ≥ 0, `[row]`, in place of those that the rows have; None for none.

        Returns:
            The rows.
        """
        plain = self.plain
        if weights is None:
            return plain
        return replace(plain, targets=packed(plain.targets, weights), target_shape=tuple(plain.targets.shape[1:]))

    def sampled(self, count: int | None) -> Rows:
        """Evenly spaced rows, for means over them; sequences by their lengths, so that blocks need little padding.

        Args:
            count: how many; None for all.

        Returns:
            The rows, themselves where they are all and no sequences.
        """
        n = len(self)
        rows = self if count is None or count >= n else self.keep(torch.arange(count) * n // count)
        return rows.sorted_by_length[0]

    @cached_property
    def sorted_by_length(self) -> tuple[Rows, Tensor]:
        """The rows, sequences by their lengths, and where each of them stands in these rows, `[row]`.

        They are the same tensors each time: what is known of rows is known by their places in memory.
        """
        return self.keep(order := self.by_length()), order

    def by_length(self) -> Tensor:
        """Positions of all rows, sequences by their lengths, so that blocks of them need little padding."""
        return torch.arange(len(self)) if self.lengths is None else self.lengths.argsort(stable=True)

    def equal(self, other: Rows) -> bool:
        """Whether these are the same rows in the same order, with the same inputs and targets."""

        def same(mine: Tensor | None, theirs: Tensor | None) -> bool:
            if mine is None or theirs is None or mine is theirs:
                return mine is theirs
            return mine.dtype == theirs.dtype and mine.device == theirs.device and torch.equal(mine, theirs)

        mine, theirs = (by_name(rows.inputs, "") for rows in (self, other))
        tensors = [(getattr(self, name), getattr(other, name)) for name in ("targets", "index", "lengths")]
        alike = mine.keys() == theirs.keys() and self.target_shape == other.target_shape
        return alike and all(same(*pair) for pair in [*tensors, *((mine[key], theirs[key]) for key in mine)])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Rows:
        """The rows on a device; real numbers are cast, class and token numbers stay integers.

        Args:
            device: None for where they are.
            dtype: of real numbers, None for what they are.

        Returns:
            Rows that share their memory with these where nothing changes.
        """

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

        return replace(self, inputs=map_inputs(move, self.inputs), targets=move(self.targets))

    @classmethod
    def of(cls, examples: Any, name: str = "rows") -> Rows:
        """Rows of what a caller has.

        Targets that are real numbers with one axis become `[row, 1]`; class numbers become 64-bit integers.

        Args:
            examples: `Rows`; a pair of inputs and targets, tensors or arrays, the inputs possibly a mapping or a tuple
                of them; the two and weights w ≥ 0 `[row]`, how often each row counts in training; a torch `Dataset`
                of such pairs or triples for single examples; or columns with labels among them, as a mapping, a torch
                `Dataset` of such mappings, or one of the datasets library.
            name: what errors call them.

        Returns:
            The rows; `index` is 0, 1, ….

        Raises:
            UserError: for anything else, or where inputs, targets and weights are not equally many.
        """
        if isinstance(examples, Rows):
            return examples
        examples = parts_of(examples, name)
        if not isinstance(examples, (tuple, list)) or len(examples) not in (2, 3):
            raise UserError(
                f"{name} must be Rows, a pair of inputs and targets (tensors or arrays; inputs may be a mapping or a "
                "tuple of them) with weights of the rows as a third where they have some, a torch Dataset of such "
                f"pairs, or columns with labels, found {described(examples)}."
            )
        inputs, targets, *weights = examples
        if isinstance(inputs, tuple) and all(hasattr(part, "shape") for part in inputs):
            inputs = {str(place): part for place, part in enumerate(inputs)}
        if isinstance(inputs, Mapping):
            inputs = {key: as_tensor(part, f"the inputs {key} of {name}") for key, part in inputs.items()}
        else:
            inputs = as_tensor(inputs, f"the inputs of {name}")
        targets = as_tensor(targets, f"the targets of {name}")
        targets = targets if targets.is_floating_point() else targets.to(torch.int64)
        counts = {key: len(part) for key, part in {**by_name(inputs), "targets": targets}.items()}
        if len(set(counts.values())) > 1 or not len(targets):
            listed = ", ".join(f"{count} {key}" for key, count in counts.items())
            raise UserError(f"{name} must have as many inputs as targets and at least one, found {listed}.")
        if targets.is_floating_point() and targets.dim() == 1:
            targets = targets[:, None]
        rows = cls(inputs, targets, torch.arange(len(targets)))
        if not weights:
            return rows
        what = f"the weights of {name}"
        return rows.weighted_by(require_weights(what, as_tensor(weights[0], what), len(rows)))
