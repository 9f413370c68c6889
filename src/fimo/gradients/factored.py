"""Gradients of whole networks, layer by layer: in factors where that is cheaper, as they are otherwise.

g_j · g_i = Σ_l (a_j · a_i + 1) (δ_j · δ_i)        (for linear layers on matrices; the 1 where there is a bias)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fimo.gradients.cotangents import Cotangents, of_loss
from fimo.gradients.dense import DenseGradients, per_example_gradients
from fimo.gradients.layers import LayerGradients, MatrixLayer
from fimo.gradients.network import NetworkGradients
from fimo.gradients.sequences import Segment, SequenceLayer
from fimo.problem import Problem
from fimo.rows import Inputs, Rows, rows_of

# Layers over sequences are kept in factors where these are smaller than the gradient with at least so many places.
PLACES = 5
Calls = dict[nn.Module, list[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Factorisation:
    """How a network's gradients are taken apart.

    Attributes:
        layers: names of the modules whose gradients are kept in factors (layer normalisations: in closed form).
        others: names of the parameters of all other modules.
    """

    layers: tuple[str, ...]
    others: tuple[str, ...]


def layer_gradients(
    problem: Problem, rows: Rows, structure: Factorisation, cotangents: Cotangents = of_loss
) -> NetworkGradients:
    """The same as `per_example_gradients`, in factors where the structure says so."""
    modules = {name: problem.network.get_submodule(name) for name in structure.layers}
    outputs, calls = _forward(problem.network, list(modules.values()), rows.inputs)
    inputs, results = zip(*(calls[module][0] for module in modules.values()), strict=True)
    chosen = cotangents(problem.objective, outputs.detach(), rows.targets)
    # Zero for a layer whose output plays no part.
    options = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}
    scalars = [torch.autograd.grad(outputs, results, vector, **options) for vector in chosen.unbind(-1)]
    parts = [
        _part(name, module, _repeated(layer_inputs.detach(), len(scalars)), torch.stack(deltas, 1).flatten(0, 1))
        for (name, module), layer_inputs, deltas in zip(
            modules.items(), inputs, zip(*scalars, strict=True), strict=True
        )
    ]
    if structure.others:
        parts.append(per_example_gradients(problem, rows, cotangents, structure.others))
    return NetworkGradients(tuple(parts))


def _repeated(inputs: Tensor, scalars: int) -> Tensor:
    """Each row as often as there are scalars."""
    return inputs if scalars == 1 else inputs.repeat_interleave(scalars, 0)


def _part(name: str, module: nn.Module, inputs: Tensor, deltas: Tensor) -> LayerGradients | DenseGradients:
    """Gradients of a module's parameters from its inputs and the gradients at its outputs, both `[row, …]`."""
    weight, bias = f"{name}.weight".lstrip("."), f"{name}.bias".lstrip(".")
    if isinstance(module, nn.LayerNorm):
        scales = functional.layer_norm(inputs, module.normalized_shape, eps=module.eps) * deltas
        places = tuple(range(1, scales.dim() - len(module.normalized_shape)))
        sums = {weight: scales, bias: deltas} if module.bias is not None else {weight: scales}
        return DenseGradients({key: value.sum(places) if places else value for key, value in sums.items()})
    if isinstance(module, nn.Embedding):
        ids, deltas = inputs.flatten(1), deltas.flatten(1, -2)
        if module.padding_idx is not None:  # its row is never trained
            deltas = deltas * (ids != module.padding_idx)[..., None]
        return SequenceLayer(weight, None, (Segment(ids, deltas),), module.num_embeddings)
    assert isinstance(module, nn.Linear)
    own = bias if module.bias is not None else None
    if inputs.dim() == 2:
        return MatrixLayer(weight, own, inputs, deltas)
    return SequenceLayer(weight, own, (Segment(inputs.flatten(1, -2), deltas.flatten(1, -2)),), module.in_features)


def factorisation_of(network: nn.Module, inputs: Inputs) -> Factorisation | None:
    """What can be kept in factors, or None where that is less than half of the parameters.

    A module is taken whose parameters are its own and that is called once, with an input for each row, and whose
    factors are smaller than its gradient.

    Args:
        network: in eval mode.
        inputs: a few example inputs, to see which modules are called and how.
    """
    owners = Counter(id(p) for module in network.modules() for p in module.parameters(recurse=False))
    candidates = {
        name: module
        for name, module in network.named_modules()
        if _supported(module) and all(owners[id(p)] == 1 for p in module.parameters(recurse=False))
    }
    outputs, calls = _forward(network, list(candidates.values()), inputs)
    layers = {
        name: module
        for name, module in candidates.items()
        if len(calls[module]) == 1 and _factors_are_smaller(module, calls[module][0][0], len(outputs))
    }
    own = {id(p) for module in layers.values() for p in module.parameters(recurse=False)}
    taken = sum(p.numel() for p in network.parameters() if id(p) in own)
    if 2 * taken < sum(p.numel() for p in network.parameters()):
        return None
    return Factorisation(tuple(layers), tuple(name for name, p in network.named_parameters() if id(p) not in own))


def _supported(module: nn.Module) -> bool:
    if type(module) is nn.Embedding:
        return module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
    return type(module) is nn.Linear or (type(module) is nn.LayerNorm and module.weight is not None)


def _factors_are_smaller(module: nn.Module, inputs: Tensor, rows: int) -> bool:
    if len(inputs) != rows or inputs.dim() < 2:
        return False
    if isinstance(module, nn.Linear) and inputs.dim() > 2:
        # Not by these rows' places: gradients of other rows have to be taken apart in the same way.
        both = module.in_features + module.out_features
        return PLACES * both < module.in_features * module.out_features
    return True


def _forward(network: nn.Module, modules: Sequence[nn.Module], inputs: Inputs) -> tuple[Tensor, Calls]:
    """The network's outputs, and the input and output of every call of each module on the way there."""
    calls: Calls = {module: [] for module in modules}
    rows = rows_of(inputs)

    def see(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if isinstance(module, nn.Embedding) and len(args[0]) == 1 < rows:  # positions, the same for all rows
            args, output = (args[0].expand(rows, *args[0].shape[1:]),), output.expand(rows, *output.shape[1:])
        calls[module].append((args[0], output))
        return output.clone()  # what follows may work in place (ReLU does, where asked): the output seen stays as it is

    hooks = [module.register_forward_hook(see) for module in modules]
    try:
        with torch.enable_grad():
            outputs = network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, calls
