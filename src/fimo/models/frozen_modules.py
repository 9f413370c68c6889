"""Which modules give the same for a row whatever θ is: found by looking at a few passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

# torch has no public name for it; it knows the outputs of the transformers library, which are registered there.
from torch.utils._pytree import TreeSpec, tree_flatten

from fimo.models.function_of_rows import largest_gap, spread
from fimo.models.parameter_choice import theta_of
from fimo.models.requirements import LOOKED_AT
from fimo.models.stored_outputs import OUTPUT, Output, Piece
from fimo.rows import Inputs, Rows

# Puts a network into a mode, and back into eval mode.
Mode = Callable[[nn.Module], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Call:
    """A call of a module.

    Attributes:
        leaves: what it returned, flat.
        spec: the structure of that.
        drew: whether it drew random numbers.
    """

    leaves: list[Any]
    spec: TreeSpec
    drew: bool


@dataclass(frozen=True)
class Look:
    """A few rows, and how the network is called with them.

    Attributes:
        network: in eval mode, θ alone needing gradients.
        few: rows at full length.
        modes: that the network is in; the first is eval mode.
    """

    network: nn.Module
    few: Rows
    modes: Sequence[Mode]

    @classmethod
    def at(cls, network: nn.Module, train: Rows, modes: Sequence[Mode]) -> Look:
        """A look at some training rows, of sequences the shortest among them.

        Args:
            network: in eval mode.
            train: the training rows.
            modes: that the network is in; the first is eval mode.
        """
        index = spread(len(train), LOOKED_AT)
        if train.lengths is not None:
            index = torch.cat([index, train.lengths.argmin()[None].to(index)]).unique()
        inputs, targets = train.take(index, None)
        lengths = None if train.lengths is None else train.lengths[index]
        few = replace(train, inputs=inputs, targets=targets, index=train.index[index], lengths=lengths)
        return cls(network, few, modes)

    @property
    def cut(self) -> int | None:
        """A length below the full one that sequences are cut to; None for inputs of one size."""
        if isinstance(self.few.inputs, Tensor) or self.few.lengths is None:
            return None
        full = next(iter(self.few.inputs.values())).shape[1]
        return max(1, min(full - 1, int(self.few.lengths.min())))

    @property
    def fewer(self) -> Tensor:
        """Positions of some of the rows, of sequences those that a cut leaves as they are; it may be none."""
        if self.few.lengths is None:
            return torch.arange(len(self.few) - 1)
        return torch.nonzero(self.few.lengths.cpu() <= int(self.cut or 0)).flatten()

    @cached_property
    def elsewhere(self) -> dict[str, Tensor]:
        """Other values of θ."""
        random, values = torch.Generator().manual_seed(0), {}
        for name, parameter in theta_of(self.network).items():
            noise = torch.randn(parameter.shape, generator=random).to(parameter)
            values[name] = (parameter + 0.3 * (0.1 + parameter.abs().mean()) * noise).detach().requires_grad_()
        return values


@torch.enable_grad()
def frozen_outputs(look: Look) -> tuple[dict[str, Output], dict[str, Tensor]]:
    """The outputs of the outermost modules that depend on the row alone, by path, and what they are at a few rows.

    Args:
        look: the rows.

    Returns:
        The outputs, and tensors as rows hold them, by the keys of the pieces.
    """
    theta: Mapping[str, Tensor] = theta_of(look.network)
    frozen = [
        path
        for path, module in look.network.named_modules()
        if path and not {id(p) for p in theta.values()} & {id(p) for p in module.parameters()}
    ]
    first, *others = [
        calls_of(look.network, mode, values, look.few.inputs, frozen, seed)
        for mode in look.modes
        for seed, values in enumerate((theta, look.elsewhere))
    ]
    cut = calls_of(look.network, look.modes[0], theta, look.few.take(slice(0, -1), look.cut)[0], frozen)
    outputs: dict[str, Output] = {}
    tensors: dict[str, Tensor] = {}
    for path in frozen:
        if any(path.startswith(f"{outer}.") for outer in outputs) or len(first[path]) != 1:
            continue
        (call,) = first[path]
        if not all(len(seen[path]) == 1 and _repeats(seen[path][0], call) for seen in (first, *others)):
            continue
        if (pieces := _pieces(look, path, call, cut[path])) is not None:
            outputs[path] = Output(call.spec, pieces)
            pairs = [(piece, leaf) for piece, leaf in zip(pieces, call.leaves, strict=True) if piece is not None]
            tensors |= {piece.key: as_held(piece, leaf, look.cut is not None) for piece, leaf in pairs}
    return outputs, tensors


def calls_of(
    network: nn.Module, mode: Mode, theta: Mapping[str, Tensor], inputs: Inputs, paths: Iterable[str], seed: int = 0
) -> dict[str, list[Call]]:
    """What modules give in one pass.

    Args:
        network: in eval mode.
        mode: that the pass is in.
        theta: θ by name.
        inputs: of some rows.
        paths: of the modules.
        seed: of what is drawn.

    Returns:
        The calls of each module, by path.
    """
    calls: dict[str, list[Call]] = {path: [] for path in paths}
    states: list[Tensor] = []
    device = next(network.parameters()).device
    state = torch.cuda.get_rng_state if device.type == "cuda" else torch.get_rng_state

    def begin(module: nn.Module, arguments: Any) -> None:
        states.append(state())

    def end(path: str, module: nn.Module, arguments: Any, returned: Any) -> None:
        leaves, spec = tree_flatten(returned)
        calls[path].append(Call(leaves, spec, not torch.equal(states.pop(), state())))

    modules = {path: network.get_submodule(path) for path in calls}
    hooks = [module.register_forward_pre_hook(begin) for module in modules.values()]
    hooks += [module.register_forward_hook(partial(end, path)) for path, module in modules.items()]
    torch.manual_seed(seed)
    try:
        with mode(network):
            functional_call(network, dict(theta), (inputs,))
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def as_held(piece: Piece, leaf: Tensor, sequences: bool) -> Tensor:
    """A module's output as rows hold it: where these are cut to a length it has an axis of places, if only of one.

    Args:
        piece: of the output.
        leaf: the output, `[row, …]`.
        sequences: whether rows are cut to a length.

    Returns:
        The tensor, detached.
    """
    return leaf.detach()[:, None] if sequences and not piece.has_places else leaf.detach()


def _repeats(call: Call, first: Call) -> bool:
    """Whether a call gives what another gave, without a gradient and without chance."""
    if call.drew or call.spec != first.spec:
        return False
    return all(_same(leaf, other) for leaf, other in zip(call.leaves, first.leaves, strict=True))


def _same(leaf: Any, other: Any) -> bool:
    if not isinstance(leaf, Tensor) or not isinstance(other, Tensor):
        return leaf is None and other is None
    if leaf.requires_grad or leaf.shape != other.shape or leaf.dtype != other.dtype:
        return False
    return largest_gap(leaf, other) == 0 if leaf.is_floating_point() else torch.equal(leaf, other)


def _pieces(look: Look, path: str, call: Call, cut: Sequence[Call]) -> tuple[Piece | None, ...] | None:
    """The tensors that a module returns; None where one can't be stored row by row, or there are none.

    Each has an axis of rows, the first, and at most one more that a cut of sequences makes shorter, the second.
    """
    if len(cut) != 1 or cut[0].spec != call.spec:
        return None
    pieces: list[Piece | None] = []
    for number, (leaf, shorter) in enumerate(zip(call.leaves, cut[0].leaves, strict=True)):
        if leaf is None:
            pieces.append(None)
            continue
        if not isinstance(shorter, Tensor) or leaf.dim() == 0 or leaf.dim() != shorter.dim():
            return None
        if (len(leaf), len(shorter)) != (len(look.few), len(look.few) - 1):
            return None
        changed = [axis for axis in range(1, leaf.dim()) if leaf.shape[axis] != shorter.shape[axis]]
        if changed not in ([], [1]):
            return None
        key = f"{OUTPUT}{path}.{number}"
        pieces.append(Piece(key, tuple(leaf.shape[1:]), leaf.dtype, changed == [1]))
    return tuple(pieces) if any(pieces) else None
