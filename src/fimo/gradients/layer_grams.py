"""Gradients of networks that are made of linear layers, without any parameter-sized tensor.

The gradient of one example with respect to a linear layer's weight is the outer product δ aᵀ of the loss gradient δ at
the layer's output and the layer's input a; with respect to the bias it is δ. Inner products between examples therefore
factor, layer by layer:

    g_j · g_i = Σ_l (a_j · a_i + 1) (δ_j · δ_i)        (the 1 where the layer has a bias)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fimo.gradients.base import Gradients, Weights, weights_of
from fimo.gradients.cotangents import Cotangents, of_loss
from fimo.problem import Problem
from fimo.rows import Inputs, Rows


@dataclass(frozen=True)
class Layer:
    """One linear layer: its parameters' names, inputs `[row, fan-in]`, gradients at its outputs `[row, fan-out]`."""

    weight: str
    bias: str | None
    inputs: Tensor
    deltas: Tensor


@dataclass(frozen=True)
class LayerGradients(Gradients):
    """Gradients as one pair of factors for each linear layer."""

    layers: tuple[Layer, ...]

    def _factors(self, other: LayerGradients) -> Iterator[tuple[Layer, Tensor, Tensor]]:
        """For each layer its two Grams, `[row of self, row of other]`: of the inputs and of the deltas."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            yield mine, mine.inputs @ theirs.inputs.T, mine.deltas @ theirs.deltas.T

    def tensor_products(self, other: LayerGradients) -> dict[str, Tensor]:
        """Inner products over each parameter tensor, `[row of self, row of other]`."""
        found = {}
        for layer, inputs, deltas in self._factors(other):
            found[layer.weight] = inputs * deltas
            if layer.bias is not None:
                found[layer.bias] = deltas
        return found

    def products(self, other: LayerGradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of other]`."""
        total: Tensor | None = None
        for layer, inputs, deltas in self._factors(other):
            inputs += layer.bias is not None  # in place, here and below: a Gram can be as large as memory allows
            total = inputs.mul_(deltas) if total is None else total.addcmul_(inputs, deltas)
        assert total is not None
        return total

    def squares(self) -> dict[str, Tensor]:
        """Squared norms over each parameter tensor, `[row]`."""
        found = {}
        for layer in self.layers:
            deltas = layer.deltas.square().sum(1)
            found[layer.weight] = layer.inputs.square().sum(1) * deltas
            if layer.bias is not None:
                found[layer.bias] = deltas
        return found

    def scaled(self, factors: Tensor) -> LayerGradients:
        """Each gradient times its factor, `factors [row]`."""
        return LayerGradients(tuple(replace(layer, deltas=layer.deltas * factors[:, None]) for layer in self.layers))

    def combined(self, weights: Weights) -> Combination:
        """Linear combinations of the rows, weights `[new row, row]`; nothing is computed until they are multiplied."""
        return Combination(((self, weights),))


@dataclass(frozen=True)
class Combination:
    """Sum of linear combinations of gradients, which has no factors of its own: kept as rows and weights."""

    terms: tuple[tuple[LayerGradients, Weights], ...]

    def products(self, gradients: LayerGradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of gradients]`."""
        return torch.stack([_weighted(rows, weights, gradients) for rows, weights in self.terms]).sum(0)

    def __add__(self, other: Combination) -> Combination:
        """Row by row."""
        return Combination(self.terms + other.terms)


def _weighted(rows: LayerGradients, weights: Weights, gradients: LayerGradients) -> Tensor:
    if isinstance(weights, Tensor):
        return weights @ rows.products(gradients)
    products = rows.tensor_products(gradients)
    return torch.stack([weights_of(weights, name) @ product for name, product in products.items()]).sum(0)


def layer_gradients(problem: Problem, rows: Rows, cotangents: Cotangents = of_loss) -> LayerGradients:
    """The same as `per_example_gradients`, in factors; the network must pass `made_of_linear_layers`."""
    linears = _linear_modules(problem.network)
    outputs, calls = _forward(problem.network, list(linears.values()), rows.inputs)
    inputs, results = zip(*(calls[linear][0] for linear in linears.values()), strict=True)
    chosen = cotangents(problem.objective, outputs.detach(), rows.targets)
    # Zero for a layer whose output plays no part.
    options = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}
    scalars = [torch.autograd.grad(outputs, results, vector, **options) for vector in chosen.unbind(-1)]
    return LayerGradients(
        tuple(
            Layer(
                f"{name}.weight".lstrip("."),
                None if linear.bias is None else f"{name}.bias".lstrip("."),
                layer_inputs.detach().repeat_interleave(len(scalars), 0) if len(scalars) > 1 else layer_inputs.detach(),
                torch.stack(deltas, 1).flatten(0, 1),
            )
            for (name, linear), layer_inputs, deltas in zip(
                linears.items(), inputs, zip(*scalars, strict=True), strict=True
            )
        )
    )


def made_of_linear_layers(network: nn.Module, inputs: Inputs) -> bool:
    """Whether every parameter belongs to one linear layer that is called once, on a matrix `[row, fan-in]`.

    Args:
        network: in eval mode.
        inputs: a few example inputs, to see which layers are called and how.
    """
    linears = list(_linear_modules(network).values())
    own = [parameter for linear in linears for parameter in linear.parameters(recurse=False)]
    everything = list(network.parameters())
    # A weight that two layers share is counted twice here and once there.
    if not linears or len(own) != len(everything) or {id(p) for p in own} != {id(p) for p in everything}:
        return False
    outputs, calls = _forward(network, linears, inputs)
    rows = len(outputs)
    return all(
        len(calls[linear]) == 1 and calls[linear][0][0].dim() == 2 and len(calls[linear][0][0]) == rows
        for linear in linears
    )


def _linear_modules(network: nn.Module) -> dict[str, nn.Linear]:
    return {name: module for name, module in network.named_modules() if type(module) is nn.Linear}


def _forward(
    network: nn.Module, linears: list[nn.Linear], inputs: Inputs
) -> tuple[Tensor, dict[nn.Module, list[tuple[Tensor, Tensor]]]]:
    """The network's outputs, and the input and output of every call of each linear layer on the way there."""
    calls: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {linear: [] for linear in linears}

    def see(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        calls[module].append((args[0], output))
        return output.clone()  # what follows may work in place (ReLU does, where asked): the output seen stays as it is

    hooks = [linear.register_forward_hook(see) for linear in linears]
    try:
        with torch.enable_grad():
            outputs = network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, calls
