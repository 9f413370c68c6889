"""The settings of torch's SGD, Adam and AdamW, read off a parameter group, and which of them have rules here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fimo.errors import UserError

KNOWN = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
# Settings that change the steps in a way that no rule here follows.
UNKNOWN_SETTINGS = ("amsgrad", "maximize")


def optimizer_settings(
    optimizer: torch.optim.Optimizer, user: str, error: type[UserError] = UserError
) -> Mapping[str, Any]:
    """The settings of an optimiser that has rules here.

    Args:
        optimizer: with its parameters.
        user: what needs the rules, for the error.
        error: that is raised.

    Returns:
        The parameter group: `lr`, `weight_decay`, and what else the optimiser takes.

    Raises:
        UserError: of the given class, for another optimiser, several parameter groups, and a setting that no rule
            follows.
    """
    if type(optimizer) not in KNOWN:
        raise error(f"{user} needs optimizer to be SGD, Adam or AdamW, found {type(optimizer).__name__}.")
    group, *others = optimizer.param_groups
    if others:
        raise error(f"{user} needs one learning rate for all parameters, found {1 + len(others)} parameter groups.")
    for key in UNKNOWN_SETTINGS:
        if group.get(key):
            raise error(f"{user} needs optimizer.{key}=false, found true.")
    return group
