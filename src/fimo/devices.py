"""The devices that a user may choose, by name."""

from __future__ import annotations

import torch

from fimo.errors import UserError


def device_named(device: str | torch.device) -> torch.device:
    """The device to compute on: `auto` takes a GPU where torch can use one.

    Raises:
        UserError: for what is no device, and for `cuda` where torch can use no GPU.
    """
    available = torch.cuda.is_available()
    if not isinstance(device, (str, torch.device)):
        raise UserError(f"device must be auto, cpu, cuda or another device of torch, found {device!r}.")
    if device == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as reason:
        raise UserError(f"device must be auto, cpu, cuda or another device of torch, found {device!r}.") from reason
    if chosen.type == "cuda" and not available:
        raise UserError("device=cuda needs a GPU that torch can use, found none: choose device=cpu or device=auto.")
    return chosen
