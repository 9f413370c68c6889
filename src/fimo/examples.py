"""Examples as a caller has them, made tensors: arrays, lists of numbers, torch datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate

from fimo.errors import UserError

# What the transformers library calls targets, among the columns of its examples.
LABELS = ("labels", "label")


def parts_of(examples: Any, name: str) -> Any:
    """Inputs, targets and perhaps weights of what a caller has.

    Args:
        examples: of a torch `Dataset`, pairs, triples, or mappings with labels; columns with labels, as a mapping or a
            `Dataset` of the datasets library has them; or anything else, which stays as it is.
        name: what errors call them.

    Returns:
        Two or three parts, of all rows.

    Raises:
        UserError: for examples that can't be stacked, and columns without labels or of other things than numbers.
    """
    if hasattr(examples, "with_format") and hasattr(examples, "__getitem__") and not isinstance(examples, Mapping):
        examples = examples.with_format(None)[:]
    elif isinstance(examples, Dataset):
        examples = collated(examples, name)
    return _labelled(examples, name) if isinstance(examples, Mapping) else examples


def _labelled(columns: Mapping[str, Any], name: str) -> tuple[dict[str, Any], Any]:
    """Columns without labels, and the labels."""
    keys = [key for key in LABELS if key in columns]
    if len(keys) != 1:
        raise UserError(
            f"{name} with several columns must have one that is called {' or '.join(LABELS)}, found "
            f"{', '.join(map(str, columns))}: pass a pair of inputs and targets, or rename it."
        )
    stacked = {key: _stacked(column, f"The column {key} of {name}") for key, column in columns.items()}
    labels = stacked.pop(keys[0])
    return stacked, labels


def _stacked(column: Any, name: str) -> Any:
    """The values of all rows as one array or tensor."""
    if not isinstance(column, (list, tuple)):
        return column
    try:
        rows = [value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value)) for value in column]
    except (TypeError, ValueError) as reason:
        raise UserError(f"{name} must be numbers, found {described(column[0])} in a row: leave it out.") from reason
    if not rows:
        raise UserError(f"{name} must have a value for each row, found none.")
    if len(shapes := {tuple(row.shape) for row in rows}) > 1:
        raise UserError(
            f"{name} must have one length in all rows, found {len(shapes)}: pad it, as a tokenizer does with "
            "padding='max_length'."
        )
    return torch.stack(rows)


def collated(examples: Dataset[Any], name: str) -> Any:
    """All examples of a dataset, stacked.

    Args:
        examples: of the dataset, pairs, triples or mappings.
        name: what errors call them.

    Returns:
        A list of as many parts as an example has, or a mapping of its columns.

    Raises:
        UserError: for examples that can't be stacked.
    """
    indexed: Any = examples
    try:
        rows = list(indexed) if isinstance(examples, IterableDataset) else [indexed[row] for row in range(len(indexed))]
        if rows and all(isinstance(row, Mapping) for row in rows):  # whose lists are values and no columns
            return {key: [row[key] for row in rows] for key in rows[0]}
        parts = default_collate(rows)
    except (RuntimeError, TypeError, IndexError, KeyError) as reason:  # of unequal sizes, unknown types, none at all
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
