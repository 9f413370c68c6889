"""Which places of sequences are the rows' own, and which are padding."""

from __future__ import annotations

import torch
from torch import Tensor

from fimo.rows import Inputs

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
    tensors = {"": inputs} if isinstance(inputs, Tensor) else inputs
    if MASK in tensors and tensors[MASK].dim() == 2:
        return tensors[MASK] != 0
    if lengths is None:
        return None
    first = next(iter(tensors.values()))
    return torch.arange(first.shape[1], device=first.device) < lengths[:, None].to(first.device)
