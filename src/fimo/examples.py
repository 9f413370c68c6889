"""Examples as a caller has them, made tensors: arrays, lists of numbers, torch datasets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate

from fimo.errors import UserError


def collated(examples: Dataset[Any], name: str) -> Any:
    """All examples of a dataset, stacked.

    Args:
        examples: of the dataset, pairs or triples.
        name: what errors call them.

    Returns:
        A list of as many parts as an example has.

    Raises:
        UserError: for examples that can't be stacked.
    """
    indexed: Any = examples
    try:
        parts = default_collate(
            list(indexed) if isinstance(examples, IterableDataset) else [indexed[row] for row in range(len(indexed))]
        )
    except (RuntimeError, TypeError, IndexError) as reason:  # of unequal sizes, of unknown types, none at all
        first = str(reason).splitlines()[0]
        raise UserError(f"{name} must be a Dataset whose examples can be stacked, found: {first}.") from reason
    if isinstance(parts, list) and len(parts) in (2, 3) and isinstance(parts[0], list):
        parts[0] = tuple(parts[0])  # several inputs of each example
    return parts


def as_tensor(values: Any, name: str) -> Tensor:
    """A tensor of a tensor, an array or a list of numbers.

    Args:
        values: with an axis of rows.
        name: what errors call them.

    Returns:
        `[row, …]`, detached.

    Raises:
        UserError: for anything else.
    """
    if hasattr(values, "to_numpy"):  # a data frame or a column
        values = values.to_numpy()
    if not isinstance(values, Tensor):
        flags = getattr(values, "flags", None)
        try:  # a copy where torch would warn that it could write into what is read-only
            values = torch.as_tensor(values.copy() if flags is not None and not flags.writeable else values)
        except (TypeError, ValueError, RuntimeError) as reason:
            raise UserError(f"{name} must be a tensor or an array of numbers, found {described(values)}.") from reason
    if values.dim() == 0:
        raise UserError(f"{name} must have an axis of rows, found a single number.")
    return values.detach()


def described(values: Any) -> str:
    """What an error calls something of a caller's: `a list of 3`, `a str`."""
    if isinstance(values, (tuple, list)):
        return f"a {type(values).__name__} of {len(values)}"
    return f"a {type(values).__name__}"
