"""Copies of networks, and which networks are copies already."""

from __future__ import annotations

import copy
from collections.abc import Callable
from weakref import WeakSet

from torch import nn

from fimo.errors import UserError, short

# Networks that problems have copied, so that no problem made of another copies them again.
COPIES: WeakSet[nn.Module] = WeakSet()


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


def copied(network: nn.Module, made: Callable[[nn.Module], nn.Module] = copy_of) -> nn.Module:
    """A copy of a network that problems take as it is, without another copy.

    Args:
        network: it stays as it is.
        made: gives the copy, or what else stands for the network.
    """
    network = made(network)
    COPIES.add(network)
    return network
