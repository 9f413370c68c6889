"""Gradients of networks that are made of linear layers, without any parameter-sized tensor.

The gradient of one example with respect to a linear layer's weight is the outer product δ aᵀ of the loss gradient δ at
the layer's output and the layer's input a; with respect to the bias it is δ. Inner products between examples therefore
factor, layer by layer:

    g_j · g_i = Σ_l (a_j · a_i + 1) (δ_j · δ_i)        (the 1 where the layer has a bias)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fimo.problem import Problem
from fimo.rows import Inputs, Rows


@dataclass(frozen=True)
class Layer:
    """One linear layer: inputs `[row, fan-in]`, loss gradients at its outputs `[row, fan-out]`, bias or not."""

    inputs: Tensor
    deltas: Tensor
    bias: bool


@dataclass(frozen=True)
class LayerGradients:
    """Gradients as one pair of factors for each linear layer."""

    layers: tuple[Layer, ...]

    def products(self, other: LayerGradients) -> Tensor:
        """Inner products, `[row of self, row of other]`."""
        return torch.stack(
            [
                (mine.inputs @ theirs.inputs.T + mine.bias) * (mine.deltas @ theirs.deltas.T)
                for mine, theirs in zip(self.layers, other.layers, strict=True)
            ]
        ).sum(0)

    def norms(self) -> Tensor:
        """Euclidean norms, `[row]`."""
        return (
            torch.stack(
                [(layer.inputs.square().sum(1) + layer.bias) * layer.deltas.square().sum(1) for layer in self.layers]
            )
            .sum(0)
            .sqrt()
        )

    def scaled(self, factors: Tensor) -> LayerGradients:
        """Each gradient times its factor, `factors [row]`."""
        return LayerGradients(
            tuple(Layer(layer.inputs, layer.deltas * factors[:, None], layer.bias) for layer in self.layers)
        )


def layer_gradients(problem: Problem, rows: Rows) -> LayerGradients:
    """Factors of the loss gradients at θ_f for all `rows`; the network must pass `made_of_linear_layers`."""
    linears = _linear_modules(problem.network)
    outputs, calls = _forward(problem.network, linears, rows.inputs)
    inputs, results = zip(*(calls[linear][0] for linear in linears), strict=True)
    losses = problem.objective.loss(outputs, rows.targets)
    # Zero for a layer whose output the loss doesn't use.
    deltas = torch.autograd.grad(losses.sum(), results, allow_unused=True, materialize_grads=True)
    return LayerGradients(
        tuple(
            Layer(layer_inputs.detach(), delta, linear.bias is not None)
            for linear, layer_inputs, delta in zip(linears, inputs, deltas, strict=True)
        )
    )


def made_of_linear_layers(network: nn.Module, inputs: Inputs) -> bool:
    """Whether every parameter belongs to one linear layer that is called once, on a matrix `[row, fan-in]`.

    Args:
        network: in eval mode.
        inputs: a few example inputs, to see which layers are called and how.
    """
    linears = _linear_modules(network)
    own = [parameter for linear in linears for parameter in linear.parameters(recurse=False)]
    everything = list(network.parameters())
    # A weight that two layers share is counted twice here and once there.
    if not linears or len(own) != len(everything) or {id(p) for p in own} != {id(p) for p in everything}:
        return False
    _, calls = _forward(network, linears, inputs)
    return all(len(calls[linear]) == 1 and calls[linear][0][0].dim() == 2 for linear in linears)


def _linear_modules(network: nn.Module) -> list[nn.Linear]:
    return [module for module in network.modules() if type(module) is nn.Linear]


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
