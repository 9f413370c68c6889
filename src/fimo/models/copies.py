"""Copies of networks, and which networks problems take as they are."""

from __future__ import annotations

import copy
from weakref import WeakSet

from torch import nn

from fimo.errors import UserError, short

# Networks that were looked at and that nobody else has: a problem made of another neither looks again nor copies them.
ACCEPTED: WeakSet[nn.Module] = WeakSet()


def accepted(network: nn.Module) -> nn.Module:
    """Let problems take a network as it is.

    Args:
        network: a copy of one that was looked at, or a part or another form of it.

    Returns:
        The network.
    """
    ACCEPTED.add(network)
    return network


def copy_of(network: nn.Module) -> nn.Module:
    """A copy of a network; a trainer that it is attached to is not copied.

    Raises:
        UserError: where torch can't copy it.
    """
    trainer = getattr(network, "_trainer", None)  # of a Lightning module
    try:
        return copy.deepcopy(network, {} if trainer is None else {id(trainer): None})
    except (RuntimeError, TypeError) as reason:
        raise UserError(
            f"The network {type(network).__name__} can't be copied ({short(reason)}). The usual cause is the old "
            "torch.nn.utils.weight_norm or spectral_norm: take those of torch.nn.utils.parametrizations."
        ) from reason


def copied(network: nn.Module) -> nn.Module:
    """A copy of a network that was looked at, which problems take as it is.

    Args:
        network: it stays as it is.
    """
    return accepted(copy_of(network))
