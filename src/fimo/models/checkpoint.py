"""Do weights fit a network: names with something in front of them, tied weights, and what to say where they don't."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fimo.errors import UserError

logger = logging.getLogger(__name__)
# Names that an error lists.
NAMED = 3


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: object) -> None:
    """Put `weights` into `network`, all of them and nothing else.

    Something that all names have in front (`module.`, `_orig_mod.`, `model.` of a Lightning module) is taken off, or
    put there where the network has it; what else a Lightning module holds is not read. Real numbers of another
    precision are cast. A line of the log says each of these.

    Args:
        network: changed in place.
        weights: by parameter (and buffer) name; of those that are tied in the network one is enough.
        source: where they come from, for messages.

    Raises:
        UserError: where names or shapes are not those of the network, or a weight is not finite.
    """
    expected = network.state_dict()
    first = {name: name for name in expected} | tied(expected)
    weights = _renamed(first, weights, source)
    others = [t.dtype for name, t in weights.items() if name in expected and t.dtype != expected[name].dtype]
    if others:
        kinds = " and ".join(sorted(set(map(str, others))))
        logger.info("%s: weights of %s are cast to those of the network", source, kinds)
    weights = {name: _cast(tensor, expected.get(name)) for name, tensor in weights.items()}
    _require_equal_ties(first, weights, source)
    given = {first[name]: tensor for name, tensor in weights.items() if name in expected}
    weights = {**{name: given[first[name]] for name in expected if first[name] in given}, **weights}
    _require_fit(network, expected, weights, source)
    if bad := [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]:
        raise UserError(f"The weights in {source} must be finite numbers, found NaN or infinity in {bad[0]}.")
    network.load_state_dict(weights)


def _cast(tensor: Tensor, expected: Tensor | None) -> Tensor:
    """Real numbers in the network's precision; what is no real number, or nothing of the network's, as it is."""
    if expected is None or not (tensor.is_floating_point() and expected.is_floating_point()):
        return tensor
    return tensor.to(expected.dtype)


def _require_equal_ties(first: Mapping[str, str], weights: Mapping[str, Tensor], source: object) -> None:
    """Refuse two tensors for one: weights that the network ties and the file has twice have to be equal."""
    for name, leader in first.items():
        if name != leader and name in weights and leader in weights:
            if not bool(torch.equal(weights[name], weights[leader])):
                raise UserError(
                    f"The weights in {source} don't fit the network: {leader} and {name} are one tensor in it, and "
                    "differ in the file; choose the network that they were trained with."
                )


def _require_fit(
    network: nn.Module, expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: object
) -> None:
    both = [name for name in expected if name in weights]
    shapes = [
        f"{name} has shape {list(weights[name].shape)}, expected {list(expected[name].shape)}"
        for name in both
        if weights[name].shape != expected[name].shape
    ]
    kinds = [
        f"{name} has {weights[name].dtype}, expected {expected[name].dtype}"
        for name in both
        if weights[name].is_floating_point() != expected[name].is_floating_point()
    ]
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    differences = [
        *([f"the network wants {_listed(missing)}, which the file lacks"] if missing else []),
        *([f"the file has {_listed(unknown)}, which the network lacks"] if unknown else []),
        *([f"{shapes[0]}{_more(shapes)}"] if shapes else kinds[:1]),
    ]
    if differences:
        raise UserError(
            f"The weights in {source} don't fit the network {type(network).__name__}: {'; '.join(differences)}: choose "
            "the model config that they were trained with."
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _more(texts: Sequence[str]) -> str:
    return f" and {len(texts) - 1} more such" if len(texts) > 1 else ""


def _renamed(first: Mapping[str, str], weights: Mapping[str, Tensor], source: object) -> Mapping[str, Tensor]:
    """Weights by the network's names, where they differ in what stands in front.

    Args:
        first: each of the network's names with the first one that it is tied to.
        weights: by name.
        source: where they come from, for messages.

    Raises:
        UserError: where several parts of the file have all the names of the network.
    """
    groups: dict[str, list[str]] = {}
    for name, leader in first.items():
        groups.setdefault(leader, []).append(name)
    for added in ("", *_common_prefixes(first)):
        wanted = [[name.removeprefix(added) for name in names] for names in groups.values()]
        removed = [front for front in _fronts(weights, wanted[0]) if _has_all(weights, wanted, front)]
        if added == "" and "" in removed or not removed:
            if removed:
                return weights
            continue
        if len(removed) > 1:
            raise UserError(
                f"The weights in {source} have the network's names several times, behind "
                f"{' and '.join(map(repr, removed))}: store those that you mean alone."
            )
        inside = {name: tensor for name, tensor in weights.items() if name.startswith(removed[0])}
        others = [name for name in weights if name not in inside]
        if removed[0]:
            logger.info("%s: the prefix %r is removed from all names", source, removed[0])
        if added:
            logger.info("%s: the prefix %r is added to all names", source, added)
        if others:
            logger.info("%s: the network has no %s: not read", source, _listed(others))
        return {added + name.removeprefix(removed[0]): tensor for name, tensor in inside.items()}
    # Something is missing: it is told best by the names that the rest has in the network.
    fronts = ["", *_common_prefixes(weights)]
    front = max(fronts, key=lambda front: sum(name.removeprefix(front) in first for name in weights))
    return {name.removeprefix(front): tensor for name, tensor in weights.items()}


def _common_prefixes(names: Iterable[str]) -> list[str]:
    """What all names have in front, up to each dot."""
    split = [name.split(".")[:-1] for name in names]
    prefixes: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        prefixes.append((prefixes[-1] if prefixes else "") + parts[0] + ".")
    return prefixes


def _fronts(weights: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """What stands in front of a wanted name (or one that is tied to it) in a file."""
    fronts = {name.removesuffix(end) for name in weights for end in wanted if name == end or name.endswith(f".{end}")}
    return sorted(fronts)


def _has_all(weights: Mapping[str, Tensor], wanted: Sequence[Sequence[str]], front: str) -> bool:
    return all(any(front + name in weights for name in names) for names in wanted)


def tied(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of weights that are the same tensor as an earlier one, with the name of that.

    Args:
        weights: by name.
    """
    earlier: dict[object, str] = {}
    places = {name: (t.data_ptr(), t.shape, t.stride()) if t.numel() else name for name, t in weights.items()}
    firsts = {name: earlier.setdefault(place, name) for name, place in places.items()}
    return {name: first for name, first in firsts.items() if name != first}
