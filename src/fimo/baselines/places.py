"""Which places of sequences are the rows' own, and which are padding."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fimo.rows import Inputs, Rows, by_name, map_inputs

# What libraries of transformers call token numbers, and the mask that is 0 at padding.
TOKENS, MASK = "input_ids", "attention_mask"


def own_places(inputs: Inputs, lengths: Tensor | None) -> Tensor | None:
    """Where sequences are no padding: what the attention mask says, else the lengths.

    Args:
        inputs: of some rows.
        lengths: of the same rows, `[row]`, or None.

    Returns:
        `[row, place]`, true at a row's own places; None where nothing says which these are.
    """
    tensors = by_name(inputs, "")
    if MASK in tensors and tensors[MASK].dim() == 2:
        return tensors[MASK] != 0
    if lengths is None:
        return None
    first = next(iter(tensors.values()))
    return torch.arange(first.shape[1], device=first.device) < lengths[:, None].to(first.device)


def first_sequence(rows: Rows) -> Rows:
    """Rows with the first sequence of each, where rows have several: two answers to one question.

    Args:
        rows: whose inputs are tensors `[row, place]`, or all `[row, sequence, place]` with a mask.
    """
    if isinstance(rows.inputs, Tensor) or MASK not in rows.inputs or rows.inputs[MASK].dim() != 3:
        return rows
    return replace(rows, inputs=map_inputs(lambda tensor: tensor[:, 0], rows.inputs))
