"""Do weights fit a network: an error a person can read where they don't."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fimo.errors import UserError


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: object) -> None:
    """Put `weights` into `network`, all of them and nothing else.

    Args:
        network: changed in place.
        weights: by parameter (and buffer) name; of those that are tied in the network one is enough.
        source: where they come from, for the error.

    Raises:
        UserError: where names or shapes are not those of the network, or a weight is not finite.
    """
    expected = network.state_dict()
    first = {name: name for name in expected} | tied(expected)
    given = {first[name]: tensor for name, tensor in weights.items() if name in expected}
    weights = {**{name: given[first[name]] for name in expected if first[name] in given}, **weights}
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


def tied(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of weights that are the same tensor as an earlier one, with the name of that.

    Args:
        weights: by name.
    """
    earlier: dict[object, str] = {}
    places = {name: (t.data_ptr(), t.shape, t.stride()) if t.numel() else name for name, t in weights.items()}
    firsts = {name: earlier.setdefault(place, name) for name, place in places.items()}
    return {name: first for name, first in firsts.items() if name != first}
