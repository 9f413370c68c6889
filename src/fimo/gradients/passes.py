"""Passes through a network and back: what goes into each layer for some rows, and what comes back to its output.

Rows go through the network together, and which values are whose is verified then (`fimo.gradients.checks`); or by
`vmap`, where the network is a function of one row and nothing of another row can come into its gradient: that needs no
verification, which takes a backward pass. `fimo.gradients.vmapped` decides which networks take `vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from fimo.gradients.base import Gradients
from fimo.gradients.checks import (
    OPTIONS,
    Pass,
    require_no_other_uses,
    require_own_rows,
    require_right_sums,
    require_single_calls,
)
from fimo.gradients.cotangents import Cotangents, of_loss
from fimo.gradients.kinds import kinds_of
from fimo.gradients.layers import Layer
from fimo.gradients.verified import verify_once
from fimo.problem import Problem
from fimo.rows import Inputs, Rows, rows_of

Calls = dict[str, list[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class LayerPass:
    """One layer's part in a forward pass with some rows, and in a backward pass for each scalar of them.

    Attributes:
        kind: that the layer is taken as.
        name: of the module; empty for the network itself.
        module: the layer.
        inputs: a, `[row, …]`, as the module takes them.
        deltas: δ of each scalar, the gradients at the layer's outputs, `[row, …]`.
    """

    kind: type[Layer]
    name: str
    module: nn.Module
    inputs: Tensor
    deltas: Sequence[Tensor]

    def gradients(self) -> Gradients:
        """A gradient for each row; where a row has several scalars they follow each other."""
        inputs, deltas = self.inputs, self.deltas[0]
        if (count := len(self.deltas)) > 1:
            inputs, deltas = inputs.repeat_interleave(count, 0), torch.stack(tuple(self.deltas), 1).flatten(0, 1)
        return self.kind.of(self.name, self.module, inputs, deltas)


def layer_passes(
    problem: Problem,
    rows: Rows,
    layers: Mapping[str, type[Layer]],
    cotangents: Cotangents = of_loss,
    in_numbers: bool = False,
) -> list[LayerPass]:
    """What the gradients of layers at some rows are made of, in one forward pass and a backward pass for each scalar.

    All rows go through the network together.

    Args:
        problem: network and objective.
        rows: the examples.
        layers: by the names of modules, the kind of layer that each is taken as.
        cotangents: of the scalars that are differentiated, the loss by default.
        in_numbers: whether the gradients are also held against autograd's of the parameters, in numbers.

    Returns:
        Layer after layer.

    Raises:
        FactorsDiffer: where the gradients that follow aren't right for all these rows.
    """
    made = forward_pass(problem.network, layers, len(rows), recorded_calls(problem.network, layers, rows.inputs))
    if in_numbers:
        require_right_sums(made)
    vectors = cotangents(problem.objective, made.outputs.detach(), rows.targets)
    scalars = [torch.autograd.grad(made.outputs, made.results, vector, **OPTIONS) for vector in vectors.unbind(-1)]
    scalars_of = cotangents, problem.objective
    verify_once(problem.network, tuple(layers), scalars_of, rows, partial(require_own_rows, made, vectors, scalars))
    return parts_of_layers(made, scalars)


def forward_pass(
    network: nn.Module, layers: Mapping[str, type[Layer]], rows: int, recorded: tuple[Tensor, Calls]
) -> Pass:
    """A forward pass in which each layer was called once, with all rows, and its parameters were used nowhere else.

    Args:
        network: that was passed through.
        layers: by the names of modules, the kind of layer that each is taken as.
        rows: number of rows.
        recorded: the network's outputs, and the calls of the layers.

    Raises:
        FactorsDiffer: where it was otherwise.
    """
    outputs, calls = recorded
    require_single_calls(network, calls, rows)
    inputs, results = zip(*(calls[name][0] for name in layers), strict=True)
    made = Pass(network, layers, outputs, inputs, results)
    require_no_other_uses(made)
    return made


def parts_of_layers(made: Pass, scalars: Sequence[Sequence[Tensor]]) -> list[LayerPass]:
    """What came of a forward pass and backward passes, layer after layer.

    Args:
        made: the forward pass.
        scalars: δ of each scalar, layer after layer, `[row, …]`.
    """
    return [
        LayerPass(kind, name, made.network.get_submodule(name), given.detach(), deltas)
        for (name, kind), given, deltas in zip(
            made.layers.items(), made.inputs, zip(*scalars, strict=True), strict=True
        )
    ]


def recorded_calls(network: nn.Module, names: Collection[str], inputs: Inputs) -> tuple[Tensor, Calls]:
    """The network's outputs, and the input and output of every call of some modules on the way there.

    Args:
        network: in eval mode.
        names: of the modules.
        inputs: of some rows.
    """
    with recording(network, names, rows_of(inputs)) as calls, torch.enable_grad():
        outputs = network(inputs)
    return outputs, calls


@contextmanager
def recording(
    network: nn.Module,
    names: Collection[str],
    rows: int,
    prepared: Callable[[nn.Module, Tensor], Tensor] = lambda module, output: output,
) -> Iterator[Calls]:
    """Inside, calls of some modules are recorded: the inputs and outputs of each, with an axis `row`.

    Args:
        network: in eval mode.
        names: of the modules.
        rows: that the network is called with.
        prepared: makes of a module and its output what is recorded and passed on.
    """
    calls: Calls = {name: [] for name in names}

    def record(
        name: str, module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor
    ) -> Tensor:
        given, shape = next(iter((*args, *named.values()))), output.shape
        output = prepared(module, output)
        for kind in kinds_of(module):
            given, output = kind.for_each_row(given, output, rows)
        calls[name].append((given, output))
        after = output.clone()  # what follows may work in place, as ReLU can: the recorded output stays as it is
        return after.reshape(shape) if after.numel() == shape.numel() else after

    # Before hooks of others, which may change the output: what they make of it comes after the layer.
    hooks = [
        network.get_submodule(name).register_forward_hook(partial(record, name), prepend=True, with_kwargs=True)
        for name in names
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
