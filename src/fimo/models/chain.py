"""Chains of linear layers and ReLUs without copies in between, for networks that are trained and nothing else.

A linear layer makes a product, adds a bias and, as a rule, has a ReLU behind it. Autograd writes a new tensor for each,
and one more on the way back; in a small network, writing them takes a CPU nearly as long as the products do. Here they
are one tensor. Nobody else sees it: a product is new, and in an `nn.Sequential` nobody stands between a ReLU and
the linear layer behind it. Outputs and gradients are the same.

Chains have a gradient by backpropagation, and no other derivative: no Hessian, and no product of the Jacobian with a
vector. So they are for further training, and not for the methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fimo.models.in_place import activated_, masked_
from fimo.models.sparse import sparse_linear
from fimo.rows import Inputs

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
                relu = len(layers) > 1 and _is(layers[0], nn.ReLU) and _is_linear(layers[1])
                passed, layers = linear(passed, layer.weight, layer.bias, relu), layers[relu:]
            else:
                passed = layer(passed)
        return passed


def chains_of(network: nn.Module) -> list[nn.Sequential]:
    """The modules of a network that are an `nn.Sequential` with a linear layer.

    Args:
        network: it stays as it is.
    """
    return [module for module in network.modules() if type(module) is nn.Sequential and any(map(_is_linear, module))]


def use_chains(network: nn.Module) -> None:
    """Give all of these modules the other form.

    Args:
        network: it is changed.
    """
    for module in chains_of(network):
        module.__class__ = Chain


def _is(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module does what this very class does, and nobody looks at what goes through it."""
    return type(module) is kind and "forward" not in vars(module) and not any(getattr(module, name) for name in HOOKS)


def _is_linear(module: nn.Module) -> bool:
    return _is(module, nn.Linear) and module.bias is not None


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
    """One layer, or with an axis `run` in front of all or some the layers of all runs."""

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
    def vmap(info: Any, in_dims: tuple[int | None, ...], rows: Tensor, *others: Any) -> tuple[Tensor, int]:
        rows = rows.expand(info.batch_size, *rows.shape) if in_dims[0] is None else rows.movedim(in_dims[0], 0)
        others = tuple(
            part if dim is None else part.movedim(dim, 0) for part, dim in zip(others, in_dims[1:], strict=True)
        )
        return _Linear.apply(rows, *others), 0
