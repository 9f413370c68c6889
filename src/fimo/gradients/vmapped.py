"""Passes through a network by `vmap` over rows: what comes back to a layer's output is the row's own by construction.

The network never sees more than one row, so that its rows can't mix. Autograd differentiates what `vmap` computes, all
rows together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.overrides import TorchFunctionMode

from fimo.gradients.checks import TOLERANCE, TOLERANCE_OTHERWISE
from fimo.gradients.cotangents import Cotangents, of_loss
from fimo.gradients.layers import Layer
from fimo.gradients.passes import Calls, LayerPass, forward_pass, layer_passes, parts_of_layers, recording
from fimo.problem import Problem
from fimo.rows import Inputs, Rows, map_inputs, rows_of
from fimo.vmapping import is_out_of_memory

# By which a tensor's gradient may be changed on the way back, which nobody does inside of `vmap`.
HOOKS = (Tensor.register_hook, Tensor.register_post_accumulate_grad_hook)


class NotVmapped(Exception):
    """`vmap` has no way to a network's layers."""


def vmapped_passes(
    problem: Problem, rows: Rows, layers: Mapping[str, type[Layer]], cotangents: Cotangents = of_loss
) -> list[LayerPass]:
    """The same as `layer_passes`, by `vmap`; where that fails for these rows, they go through the network together.

    Args:
        problem: network and objective; `vmap_takes` its layers.
        rows: the examples.
        layers: by the names of modules, the kind of layer that each is taken as.
        cotangents: of the scalars that are differentiated, the loss by default.

    Returns:
        Layer after layer.

    Raises:
        FactorsDiffer: where the gradients that follow aren't right for all these rows.
    """
    try:
        return _passes(problem, rows, layers, cotangents)
    except Exception as error:  # a network of the user's may raise anything where it meets no plain tensor
        if is_out_of_memory(error):
            raise
    return layer_passes(problem, rows, layers, cotangents)  # which says what else is wrong


def vmap_takes(problem: Problem, rows: Rows, passes: Sequence[LayerPass], cotangents: Cotangents = of_loss) -> bool:
    """Whether passes by `vmap` have the same inputs and gradients at the outputs of all layers.

    Args:
        problem: network and objective.
        rows: a few examples.
        passes: of these rows, from `layer_passes`.
        cotangents: of the scalars that are differentiated, the loss by default.
    """
    layers = {part.name: part.kind for part in passes}
    try:
        with _as_is():
            vmapped = _passes(problem, rows, layers, cotangents)
    except Exception as error:  # as above
        if is_out_of_memory(error):
            raise
        return False
    return all(
        _are_same(one, other)
        for part, its in zip(passes, vmapped, strict=True)
        for one, other in zip((part.inputs, *part.deltas), (its.inputs, *its.deltas), strict=True)
    )


def _passes(problem: Problem, rows: Rows, layers: Mapping[str, type[Layer]], cotangents: Cotangents) -> list[LayerPass]:
    made = forward_pass(problem.network, layers, len(rows), _recorded_calls(problem.network, layers, rows.inputs))
    vectors = cotangents(problem.objective, made.outputs.detach(), rows.targets)
    scalars = []
    for vector in vectors.unbind(-1):
        deltas = torch.autograd.grad(made.outputs, made.results, vector, retain_graph=True, allow_unused=True)
        # None also for a layer that doesn't see the row: what `vmap` returns is a copy of its output then.
        if missing := [name for name, delta in zip(layers, deltas, strict=True) if delta is None]:
            raise NotVmapped(f"nothing comes back to {missing[0]}")
        scalars.append([delta.flatten(0, 1) for delta in deltas])
    return parts_of_layers(made, scalars)


def _recorded_calls(network: nn.Module, names: Collection[str], inputs: Inputs) -> tuple[Tensor, Calls]:
    """The same as `recorded_calls`, by `vmap`; the outputs of calls have two axes for the rows, `[row, 1, …]`."""

    def of_one_row(inputs: Inputs, zero: Tensor) -> tuple[Tensor, Calls]:
        def seen(module: nn.Module, output: Tensor) -> Tensor:
            # Positions are often looked up once for all rows: their outputs become each row's own.
            return output + zero if isinstance(module, nn.Embedding) else output

        with recording(network, names, 1, seen) as calls:
            outputs = network(map_inputs(lambda tensor: tensor[None], inputs))
        return outputs, calls

    some = next(network.parameters())
    zeros = torch.zeros(rows_of(inputs), dtype=some.dtype, device=some.device)
    with torch.enable_grad():
        outputs, calls = vmap(of_one_row)(inputs, zeros)
    joined = {name: [(given.flatten(0, 1), output) for given, output in made] for name, made in calls.items()}
    return outputs.flatten(0, 1), joined


def _are_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same but for rounding."""
    if one.shape != other.shape:
        return False
    tolerance = TOLERANCE.get(one.dtype, TOLERANCE_OTHERWISE)
    return torch.equal(one, other) or bool(torch.dist(one, other) <= tolerance * one.norm())


class _NoHooks(TorchFunctionMode):
    """Inside, hooking something to a tensor's gradient raises."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function in HOOKS:
            raise NotVmapped("the network hooks something to gradients")
        return function(*args, **(kwargs or {}))


@contextmanager
def _as_is() -> Iterator[None]:
    """Inside, what `vmap` would leave out, or do one row after another, raises."""
    with warnings.catch_warnings(), _NoHooks():
        warnings.filterwarnings("error", message="There is a performance drop")
        yield
