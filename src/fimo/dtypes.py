"""The dtypes that a user may choose, by name, and what half precision does to data."""

import logging
from collections.abc import Iterable

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def log_rounding(tensors: Iterable[Tensor], dtype: torch.dtype, what: str) -> None:
    """Say that data lose digits which a network of half precision has not.

    Args:
        tensors: data as they were given.
        dtype: that they get.
        what: they are, for the line: `train`.
    """
    half = dtype.itemsize <= 2
    if half and any(part.is_floating_point() and not torch.equal(part.to(dtype).to(part), part) for part in tensors):
        logger.warning(
            "the numbers of %s are rounded to %s, the precision of the network: with network.float() they stay as they "
            "are",
            what,
            str(dtype).removeprefix("torch."),
        )
