"""Covariances of a layer's inputs and of the gradients at its outputs, for losses that curvlinops does not know.

Their eigenvectors are the bases of Kronecker factors. A layer is applied to one vector for each place: a row's
features, a position of a sequence, a patch of an image. The gradients are those of the columns of the root of the
loss's curvature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from fimo.gradients.convolution import patches
from fimo.gradients.cotangents import Cotangents, of_curvature
from fimo.problem import Problem

Covariances = dict[str, tuple[Tensor, Tensor]]
LinearLayer = nn.Linear | nn.Conv2d


def layer_covariances(
    problem: Problem, layers: Mapping[str, LinearLayer], batches: Iterable[Tensor], root: Cotangents = of_curvature
) -> Covariances:
    """Sums over all training rows of δδᵀ and aaᵀ, a with a last 1 where the layer has a bias in θ.

    Of δδᵀ it is over a row's places too; of aaᵀ the mean over them, so that rows count alike, however long they are.
    A row of weight w counts w times in both: the root that δ belongs to has √w already.

    Args:
        problem: network, objective and training rows.
        layers: linear layers and convolutions, by path.
        batches: positions of training rows that go through the network together.
        root: of the curvature, see `fimo.curvature.roots`.

    Returns:
        `[out, out]` and `[in, in]` by path, for the layers that are called.
    """
    covariances: Covariances = {}
    weights = problem.train.weights
    for batch in batches:
        inputs, targets = problem.train[batch]
        calls: list[tuple[str, Tensor, Tensor]] = []

        hooks = [layer.register_forward_hook(partial(_record, calls, path)) for path, layer in layers.items()]
        try:
            with torch.enable_grad():
                outputs = problem.network(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        columns = root(problem.objective, outputs.detach(), targets).unbind(-1)
        results = [output for _, _, output in calls]
        for path, given, _ in calls:
            vectors = inputs_by_place(layers[path], given).mT
            if weights is not None:
                factors = weights[batch].to(vectors).sqrt()
                vectors = vectors * factors.repeat_interleave(len(vectors) // len(batch))[:, None, None]
            _add(covariances, path, layers[path], 1, _squared(vectors) / vectors.shape[2])
        for column in columns:
            options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
            deltas = torch.autograd.grad(outputs, results, column, **options)
            for (path, _, _), delta in zip(calls, deltas, strict=True):
                _add(covariances, path, layers[path], 0, _squared(outputs_by_place(layers[path], delta)))
    return covariances


def _record(
    calls: list[tuple[str, Tensor, Tensor]], path: str, layer: nn.Module, arguments: tuple[Tensor], output: Tensor
) -> Tensor:
    calls.append((path, arguments[0].detach(), output))
    return output.clone()  # what follows may work in place


def inputs_by_place(layer: LinearLayer, inputs: Tensor) -> Tensor:
    """The vectors a that a layer is applied to, with a last 1 where it has a bias in θ.

    Args:
        layer: the layer.
        inputs: of a call, `[row, …]`.

    Returns:
        `[row, place, in]`.
    """
    if isinstance(layer, nn.Conv2d):
        places = patches(layer, inputs).mT
    else:
        places = inputs.reshape(len(inputs), -1, inputs.shape[-1])
    return torch.cat([places, torch.ones_like(places[..., :1])], -1) if _trains_bias(layer) else places


def outputs_by_place(layer: LinearLayer, deltas: Tensor) -> Tensor:
    """The gradients δ at a layer's outputs.

    Args:
        layer: the layer.
        deltas: of a call, `[row, …]`.

    Returns:
        `[row, out, place]`.
    """
    if isinstance(layer, nn.Conv2d):
        return deltas.flatten(2)
    return deltas.reshape(len(deltas), -1, deltas.shape[-1]).mT


def _trains_bias(layer: LinearLayer) -> bool:
    return layer.bias is not None and layer.bias.requires_grad


def _squared(vectors: Tensor) -> Tensor:
    """Σ v vᵀ over rows and places of vectors `[row, entry, place]`, `[entry, entry]`, whichever way is quicker."""
    if vectors.shape[2] > vectors.shape[1]:
        return (vectors @ vectors.mT).sum(0)
    joined = vectors.mT.flatten(0, 1)
    return joined.T @ joined


def _add(covariances: Covariances, path: str, layer: LinearLayer, side: int, part: Tensor) -> None:
    if path not in covariances:
        fan_out, fan_in = len(layer.weight), layer.weight[0].numel() + _trains_bias(layer)
        covariances[path] = part.new_zeros(fan_out, fan_out), part.new_zeros(fan_in, fan_in)
    covariances[path][side].add_(part)
