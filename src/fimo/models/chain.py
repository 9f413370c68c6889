"""Chains of layers without copies in between, for networks that are trained and nothing else.

A linear layer makes a product, adds a bias and, as a rule, has a ReLU behind it. Autograd writes a new tensor for each,
and one more on the way back; in a small network, writing them takes a CPU nearly as long as the products do. Here they
are one tensor. Nobody else sees it: a product is new, and nobody stands between a ReLU and the linear layer behind it.
Outputs and gradients are the same.

A chain has a gradient by backpropagation, and no other derivative: no Hessian, and no product of the Jacobian with a
vector. So it is for further training and not for the methods, and only for networks without a part of their user's own,
which might differentiate inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# torch has public functions that register hooks for all modules, and none that tells whether there are some.
from torch.nn.modules.module import _has_any_global_hook

from fimo.models.in_place import activated_, masked_, with_run_axis
from fimo.models.sparse import sparse_linear
from fimo.rows import Inputs

TORCHS = "torch.nn.modules."
# With what others may see what goes through a module, or change it.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Chain(nn.Sequential):
    """An `nn.Sequential` in this form; its layers and the names of their parameters are the same."""

    def forward(self, inputs: Inputs) -> Tensor:
        """Outputs of the last layer.

        Args:
            inputs: of the first one: rows, those that are mostly zero too (see `fimo.models.sparse`), or any others.
        """
        layers: list[Any] = list(self)
        passed: Any = inputs
        while layers:
            layer = layers.pop(0)
            if _is_linear(layer) and _are_rows(passed):
                relu = len(layers) > 1 and type(layers[0]) is nn.ReLU and _is_linear(layers[1])
                passed, layers = linear(passed, layer.weight, layer.bias, relu), layers[relu:]
            else:
                passed = layer(passed)
        return passed


class HasChain(ABC):
    """A network with another form of itself that is a chain."""

    @abstractmethod
    def chained(self) -> nn.Module:
        """The same network, with the same layers, in this form."""


def chained(network: nn.Module) -> nn.Module:
    """A network in this form, with the same layers: an `nn.Sequential` of torch's own modules, or what has `chained`.

    Args:
        network: it stays as it is.

    Returns:
        The network in this form, or itself where it is none of these, or somebody looks at what goes through it.
    """
    if _has_any_global_hook() or not all(map(_is_torchs, list(network.modules())[1:])):
        return network
    if type(network) is nn.Sequential and _is_torchs(network) and any(map(_is_linear, network)):
        return Chain(OrderedDict(network._modules))
    return network.chained() if isinstance(network, HasChain) else network


def _is_torchs(module: nn.Module) -> bool:
    """Whether a module does what its class in torch does, and nobody looks at what goes through it."""
    kind = type(module)
    own = kind.__module__.startswith(TORCHS) and kind.forward.__module__.startswith(TORCHS)
    return own and "forward" not in vars(module) and not any(getattr(module, name) for name in HOOKS)


def _is_linear(module: nn.Module) -> bool:
    return type(module) is nn.Linear and module.bias is not None


def _are_rows(inputs: Any) -> bool:
    return isinstance(inputs, Mapping) or (isinstance(inputs, Tensor) and inputs.dim() == 2)


def linear(inputs: Inputs, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """A linear layer, and a ReLU behind it; it has a first derivative, and takes `vmap`.

    Args:
        inputs: X, `[row, input]`, or sparse ones.
        weight: W, `[output, input]`.
        bias: `[output]`.
        relu: whether there is a ReLU. What its outputs go into must make a new tensor of their gradient.

    Returns:
        X Wᵀ + bias, or the positive part of it, `[row, output]`.
    """
    if isinstance(inputs, Mapping):
        return sparse_linear(inputs, weight, bias, relu)
    return _Linear.apply(inputs, weight, bias, relu)


class _Linear(torch.autograd.Function):
    """One layer, or with an axis `run` in front of everything the layers of all runs."""

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        return activated_(inputs @ weight.mT, bias, relu)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        rows, weight, _, relu = inputs
        ctx.save_for_backward(rows, weight, output if relu else None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, outputs = ctx.saved_tensors
        of_rows, of_weight, of_bias, _ = ctx.needs_input_grad
        gradient = masked_(gradient, outputs)
        return (
            gradient @ weight if of_rows else None,
            gradient.mT @ rows if of_weight else None,
            gradient.sum(-2) if of_bias else None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        *tensors, relu = inputs
        rows, weight, bias = with_run_axis(tensors, in_dims[:-1])
        return _Linear.apply(rows.expand(info.batch_size, *rows.shape[1:]), weight, bias, relu), 0
