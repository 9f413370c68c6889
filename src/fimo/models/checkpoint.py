"""Does a network fit its data, do weights fit a network: an error a person can read where they don't."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.rows import Inputs


def check_outputs(network: nn.Module, inputs: Inputs, outputs: int) -> None:
    """Refuse a network whose outputs would be broadcast against the targets.

    Args:
        network: in any mode, which it keeps.
        inputs: of two rows.
        outputs: how many each row needs.

    Raises:
        UserError: where it is no network, can't take the inputs, or its outputs are not a tensor `[row, outputs]`.
    """
    name = type(network).__name__
    if not isinstance(network, nn.Module):
        raise UserError(f"The network must be a torch.nn.Module, found a {name}.")
    training = network.training
    try:
        with torch.no_grad():
            returned = network.eval()(inputs)
    except Exception as reason:  # a network of the user's may raise anything
        why = " ".join(f"{type(reason).__name__}: {reason}".split()).rstrip(".")
        raise UserError(
            f"The network {name} can't take two rows of these data, {_shapes(inputs)} ({why}): choose a network for "
            "such inputs, or other data."
        ) from reason
    network.train(training)
    if not isinstance(returned, Tensor) or returned.shape != (2, outputs):
        kind = f"the shape {list(returned.shape)}" if isinstance(returned, Tensor) else f"a {type(returned).__name__}"
        raise UserError(
            f"The network {name} must give outputs [row, {outputs}] for these data, found {kind} for two rows: "
            "change its forward or choose another network."
        )


def _shapes(inputs: Inputs) -> str:
    if isinstance(inputs, Tensor):
        return str(list(inputs.shape))
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: object) -> None:
    """Put `weights` into `network`, all of them and nothing else.

    Args:
        network: changed in place.
        weights: by parameter (and buffer) name.
        source: where they come from, for the error.

    Raises:
        UserError: where names or shapes are not those of the network, or a weight is not finite.
    """
    expected = network.state_dict()
    differences = (
        [f"{name} is missing" for name in expected if name not in weights]
        + [f"{name} is not a name in it" for name in weights if name not in expected]
        + [
            f"{name} has shape {list(weights[name].shape)}, expected {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ]
    )
    if differences:
        more = f" and {len(differences) - 1} more differences" if len(differences) > 1 else ""
        raise UserError(
            f"The weights in {source} don't fit the network {type(network).__name__}: {differences[0]}{more}; choose "
            "the model config that they were trained with."
        )
    if bad := [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]:
        raise UserError(f"The weights in {source} must be finite numbers, found NaN or infinity in {bad[0]}.")
    network.load_state_dict(weights)
