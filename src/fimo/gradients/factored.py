"""Gradients of whole networks, layer by layer: in factors where that is cheaper, as they are otherwise.

g_j · g_i = Σ_l (a_j · a_i + 1) (δ_j · δ_i)        (for linear layers on matrices; the 1 where there is a bias)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fimo.gradients.checks import (
    OPTIONS,
    Pass,
    require_no_other_uses,
    require_own_rows,
    require_right_sums,
    require_single_calls,
)
from fimo.gradients.convolution import Conv2dGradients
from fimo.gradients.cotangents import Cotangents, of_loss
from fimo.gradients.dense import per_example_gradients
from fimo.gradients.embedding import EmbeddingGradients
from fimo.gradients.layers import Layer
from fimo.gradients.linear import LinearGradients
from fimo.gradients.network import NetworkGradients
from fimo.gradients.norms import LayerNormGradients, RootMeanSquareNormGradients
from fimo.gradients.sequences import LinearSequenceGradients
from fimo.gradients.tied import TiedGradients
from fimo.gradients.verified import needs_verifying
from fimo.problem import Problem
from fimo.rows import Inputs, Rows, rows_of

# Every kind of layer; of those that support a module, the first that is cheaper takes it.
LAYERS: tuple[type[Layer], ...] = (
    LinearGradients,
    LinearSequenceGradients,
    EmbeddingGradients,
    LayerNormGradients,
    RootMeanSquareNormGradients,
    Conv2dGradients,
)
Calls = dict[str, list[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Factorisation:
    """How a network's gradients are taken apart.

    Attributes:
        layers: by the names of modules, the kind of layer that each is taken as.
        others: names of all other parameters in θ, whose gradients are dense.
        extra_bytes: memory that one row's gradients take beyond the activations of a backward pass.
        tied: by the names of heads, that of the embedding whose weight each shares and that of the weight in θ; both
            are among the layers.
    """

    layers: Mapping[str, type[Layer]]
    others: tuple[str, ...]
    extra_bytes: int = 0
    tied: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def restricted(self, names: Collection[str]) -> Factorisation:
        """That of some parameters, all of a layer's or none."""
        pairs = self.tied.items()
        weights = {module: weight for head, (embedding, weight) in pairs for module in (head, embedding)}
        layers = {
            name: kind for name, kind in self.layers.items() if weights.get(name, f"{name}.weight".lstrip(".")) in names
        }
        tied = {head: pair for head, pair in self.tied.items() if head in layers}
        return replace(self, layers=layers, others=tuple(name for name in self.others if name in names), tied=tied)


def layer_gradients(
    problem: Problem,
    rows: Rows,
    factorisation: Factorisation,
    cotangents: Cotangents = of_loss,
    in_numbers: bool = False,
) -> NetworkGradients:
    """The same as `per_example_gradients`, in factors where the factorisation says so.

    Args:
        problem: network and objective.
        rows: the examples.
        factorisation: of the problem's network.
        cotangents: of the scalars that are differentiated, the loss by default.
        in_numbers: whether the factors are also held against autograd's gradients of the parameters, in numbers.

    Returns:
        Row after row; where an example has several scalars they follow each other.

    Raises:
        FactorsDiffer: where the factors aren't right for all these rows.
    """
    dense = [per_example_gradients(problem, rows, cotangents, factorisation.others)] if factorisation.others else []
    if not factorisation.layers:
        return NetworkGradients(tuple(dense))
    modules = {name: problem.network.get_submodule(name) for name in factorisation.layers}
    outputs, calls = _forward(problem.network, modules, rows.inputs)
    require_single_calls(problem.network, calls, len(rows))
    inputs, results = zip(*(calls[name][0] for name in modules), strict=True)
    made = Pass(problem.network, factorisation.layers, outputs, inputs, results)
    require_no_other_uses(made)
    if in_numbers:
        require_right_sums(made)
    vectors = cotangents(problem.objective, outputs.detach(), rows.targets)
    scalars = [torch.autograd.grad(outputs, results, vector, **OPTIONS) for vector in vectors.unbind(-1)]
    if needs_verifying(problem.network, tuple(modules), (cotangents, problem.objective), rows):
        require_own_rows(made, vectors, scalars)
    deltas = [torch.stack(parts, 1).flatten(0, 1) for parts in zip(*scalars, strict=True)]
    parts: dict[str, Any] = {
        name: kind.of(name, modules[name], _repeated(layer_inputs.detach(), len(scalars)), layer_deltas)
        for (name, kind), layer_inputs, layer_deltas in zip(factorisation.layers.items(), inputs, deltas, strict=True)
    }
    for head, (embedding, weight) in factorisation.tied.items():
        parts[embedding] = TiedGradients.of_both(weight, parts[embedding], parts.pop(head))
    return NetworkGradients((*parts.values(), *dense))


def _repeated(inputs: Tensor, scalars: int) -> Tensor:
    """Each row as often as there are scalars."""
    return inputs if scalars == 1 else inputs.repeat_interleave(scalars, 0)


def factorisation_of(network: nn.Module, inputs: Inputs) -> Factorisation | None:
    """What can be kept in factors, or None where that is less than half of θ, the parameters that need gradients.

    A module is taken whose parameters are its own and all in θ, and that is called once, with an input for each row and
    not under `no_grad`, and for which a kind of layer is cheaper than its gradient as it is. An embedding and a linear
    layer that share their weight, as a language model's head often does, are taken together.

    Args:
        network: in eval mode.
        inputs: a few example inputs, to see which modules are called and how.

    Returns:
        The factorisation, or None.
    """
    owners = Counter(id(p) for module in network.modules() for p in module.parameters(recurse=False))
    pairs = _tied(network, owners)
    candidates = {
        name: module
        for name, module in network.named_modules()
        if any(kind.supports(module) for kind in LAYERS)
        and (name in {*pairs, *pairs.values()} or all(owners[id(p)] == 1 for p in module.parameters(recurse=False)))
        and all(p.requires_grad for p in module.parameters(recurse=False))
    }
    outputs, calls = _forward(network, candidates, inputs)
    layers: dict[str, type[Layer]] = {}
    extra = 0
    for name, module in candidates.items():
        if len(calls[name]) == 1 and (kind := _kind_of(module, *calls[name][0], len(outputs))):
            layers[name] = kind
            extra += kind.extra_bytes(module, *calls[name][0])
    names, tied = {id(parameter): name for name, parameter in network.named_parameters()}, {}
    for head, embedding in pairs.items():
        if layers.get(head) is LinearSequenceGradients and layers.get(embedding) is EmbeddingGradients:
            tied[head] = embedding, names[id(candidates[head].weight)]
        else:
            layers.pop(head, None), layers.pop(embedding, None)
    own = {id(p) for name in layers for p in candidates[name].parameters(recurse=False)}
    theta = {name: p for name, p in network.named_parameters() if p.requires_grad}
    others = {name: p for name, p in theta.items() if id(p) not in own}
    if 2 * sum(p.numel() for p in others.values()) > sum(p.numel() for p in theta.values()):
        return None
    return Factorisation(layers, tuple(others), extra + sum(p.nbytes for p in others.values()), tied)


def _tied(network: nn.Module, owners: Counter[int]) -> dict[str, str]:
    """By the names of linear layers without a bias, those of the embeddings that they alone share their weight with."""
    modules = dict(network.named_modules())
    embeddings = {id(module.weight): name for name, module in modules.items() if EmbeddingGradients.supports(module)}
    return {
        name: embeddings[id(module.weight)]
        for name, module in modules.items()
        if LinearSequenceGradients.supports(module)
        and module.bias is None
        and owners[id(module.weight)] == 2
        and id(module.weight) in embeddings
    }


def _kind_of(module: nn.Module, inputs: Tensor, outputs: Tensor, rows: int) -> type[Layer] | None:
    """The first kind of layer that supports a module and is cheaper for a call of it."""
    if len(inputs) != rows or inputs.dim() < 2 or not outputs.requires_grad:
        return None
    return next((kind for kind in LAYERS if kind.supports(module) and kind.is_cheaper(module, inputs, outputs)), None)


def _forward(network: nn.Module, modules: Mapping[str, nn.Module], inputs: Inputs) -> tuple[Tensor, Calls]:
    """The network's outputs, and the input and output of every call of each module on the way there."""
    calls: Calls = {name: [] for name in modules}
    rows = rows_of(inputs)

    def record(name: str, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        given, shape = args[0], output.shape
        for kind in LAYERS:
            if kind.supports(module):
                given, output = kind.for_each_row(given, output, rows)
        calls[name].append((given, output))
        after = output.clone()  # what follows may work in place, as ReLU can: the recorded output stays as it is
        return after.reshape(shape) if after.numel() == shape.numel() else after

    # Before hooks of others, which may change the output: what they make of it comes after the layer.
    hooks = [module.register_forward_hook(partial(record, name), prepend=True) for name, module in modules.items()]
    try:
        with torch.enable_grad():
            outputs = network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, calls
