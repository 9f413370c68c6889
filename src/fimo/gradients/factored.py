"""Gradients of whole networks, layer by layer: in factors where that is cheaper, as they are otherwise.

g_j · g_i = Σ_l (a_j · a_i + 1) (δ_j · δ_i)        (for linear layers on matrices; the 1 where there is a bias)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from fimo.gradients.cotangents import Cotangents, of_loss
from fimo.gradients.dense import per_example_gradients
from fimo.gradients.embedding import EmbeddingGradients
from fimo.gradients.kinds import kinds_of
from fimo.gradients.layers import Layer
from fimo.gradients.network import NetworkGradients
from fimo.gradients.passes import layer_passes, recorded_calls
from fimo.gradients.sequences import LinearSequenceGradients
from fimo.gradients.tied import TiedGradients
from fimo.gradients.vmapped import vmapped_passes
from fimo.problem import Problem
from fimo.rows import Inputs, Rows


@dataclass(frozen=True)
class Factorisation:
    """How a network's gradients are taken apart.

    Attributes:
        layers: by the names of modules, the kind of layer that each is taken as.
        others: names of all other parameters in θ, whose gradients are dense.
        extra_bytes: memory that one row's gradients take beyond the activations of a backward pass.
        tied: by the names of heads, that of the embedding whose weight each shares and that of the weight in θ; both
            are among the layers.
        vmapped: whether the layers are passed through by `vmap` over rows.
    """

    layers: Mapping[str, type[Layer]]
    others: tuple[str, ...]
    extra_bytes: int = 0
    tied: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    vmapped: bool = False

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
) -> NetworkGradients:
    """The same as `per_example_gradients`, in factors where the factorisation says so.

    Args:
        problem: network and objective.
        rows: the examples.
        factorisation: of the problem's network.
        cotangents: of the scalars that are differentiated, the loss by default.

    Returns:
        Row after row; where an example has several scalars they follow each other.

    Raises:
        FactorsDiffer: where the factors aren't right for all these rows.
    """
    dense = [per_example_gradients(problem, rows, cotangents, factorisation.others)] if factorisation.others else []
    if not factorisation.layers:
        return NetworkGradients(tuple(dense))
    make = vmapped_passes if factorisation.vmapped else layer_passes
    passes = make(problem, rows, factorisation.layers, cotangents)
    parts: dict[str, Any] = {one.name: one.gradients() for one in passes}
    for head, (embedding, weight) in factorisation.tied.items():
        parts[embedding] = TiedGradients.of_both(weight, parts[embedding], parts.pop(head))
    return NetworkGradients((*parts.values(), *dense))


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
    owners = _owners(network)
    pairs = _tied(network, owners)
    candidates = {
        name: module
        for name, module in network.named_modules()
        if kinds_of(module) and _trains_its_own(module, {} if name in {*pairs, *pairs.values()} else owners)
    }
    outputs, calls = recorded_calls(network, candidates, inputs)
    layers: dict[str, type[Layer]] = {}
    for name, module in candidates.items():
        possible = _possible(module, calls[name], len(outputs))
        if cheaper := [kind for kind in possible if kind.is_cheaper(module, *calls[name][0])]:
            layers[name] = cheaper[0]
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
    extra = sum(kind.extra_bytes(candidates[name], *calls[name][0]) for name, kind in layers.items())
    return Factorisation(layers, tuple(others), extra + sum(p.nbytes for p in others.values()), tied)


def layers_by_themselves(network: nn.Module, inputs: Inputs, names: Collection[str]) -> dict[str, type[Layer]]:
    """The kinds of layers whose gradients can be taken by themselves, whatever it costs to hold and multiply them.

    Args:
        network: in eval mode.
        inputs: a few example inputs, to see how the layers are called.
        names: of the modules.

    Returns:
        By name, without layers that are of no kind, share a parameter or have one that is not in θ, or are not called
        once with an input for each row.
    """
    owners, modules = _owners(network), {name: network.get_submodule(name) for name in names}
    candidates = {name: module for name, module in modules.items() if _trains_its_own(module, owners)}
    if not candidates:
        return {}
    outputs, calls = recorded_calls(network, candidates, inputs)
    kinds = {name: _possible(module, calls[name], len(outputs)) for name, module in candidates.items()}
    return {name: possible[0] for name, possible in kinds.items() if possible}


def _owners(network: nn.Module) -> Counter[int]:
    """How many modules have each parameter, by its identity."""
    return Counter(id(p) for module in network.modules() for p in module.parameters(recurse=False))


def _trains_its_own(module: nn.Module, owners: Mapping[int, int]) -> bool:
    """Whether all parameters of a module are in θ and, as far as owners are given, no other module's."""
    return all(p.requires_grad and owners.get(id(p), 1) == 1 for p in module.parameters(recurse=False))


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


def _possible(module: nn.Module, calls: Sequence[tuple[Tensor, Tensor]], rows: int) -> list[type[Layer]]:
    """The kinds that a module can be taken as; none unless it is called once, with an input for each row.

    Under autocast a module may compute in another precision than that of its inputs.
    """
    if len(calls) != 1:
        return []
    inputs, outputs = calls[0]
    one_precision = not inputs.is_floating_point() or inputs.dtype == outputs.dtype
    fits = len(inputs) == rows and inputs.dim() >= 2 and outputs.requires_grad and one_precision
    return [kind for kind in kinds_of(module) if kind.takes(inputs)] if fits else []
