"""Covariances of a layer's inputs and of the gradients at its outputs.

Their eigenvectors are the bases of Kronecker factors. A layer is applied to one vector for each place: a row's
features, a position of a sequence, a patch of an image. The gradients are those of the columns of the root of the
loss's curvature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fimo.errors import MethodFailed
from fimo.gradients.checks import OPTIONS
from fimo.gradients.convolution import patches
from fimo.gradients.cotangents import Cotangents, of_curvature
from fimo.gradients.layers import with_ones
from fimo.gradients.passes import recorded_calls
from fimo.problem import Problem

Covariances = dict[str, tuple[Tensor, Tensor]]
LinearLayer = nn.Linear | nn.Conv2d


def layer_covariances(
    problem: Problem, layers: Mapping[str, LinearLayer], batches: Iterable[Tensor], root: Cotangents = of_curvature
) -> Covariances:
    """Sums over all training rows of δδᵀ and aaᵀ, a with a last 1 where the layer has a bias in θ.

    Of δδᵀ it is over a row's places too; of aaᵀ the mean over them, so that rows count alike, however long they are.
    A row of weight w counts w times in both: the root that δ belongs to has √w already. Of a layer whose inputs all
    rows share, δ is the sum over a batch's rows.

    Args:
        problem: network, objective and training rows.
        layers: linear layers and convolutions, by path.
        batches: positions of training rows that go through the network together.
        root: of the curvature, see `fimo.curvature.roots`.

    Returns:
        `[out, out]` and `[in, in]` by path, for the layers that are called.
    """
    covariances: Covariances = {}
    for batch in batches:
        inputs, targets = problem.train[batch]
        weights = None if problem.train.weights is None else problem.train.weights[batch]
        outputs, recorded = recorded_calls(problem.network, layers, inputs)
        calls = [(path, given.detach(), output) for path, made in recorded.items() for given, output in made]
        for path, given, _ in calls:
            vectors = inputs_by_place(layers[path], given).mT
            if weights is not None:
                vectors = _weighted(path, vectors, weights)
            _add(covariances, path, layers[path], 1, _squared(vectors) / _places(vectors, len(batch)))
        results = [output for _, _, output in calls]
        for column in root(problem.objective, outputs.detach(), targets).unbind(-1):
            deltas = torch.autograd.grad(outputs, results, column, **OPTIONS)
            for (path, _, _), delta in zip(calls, deltas, strict=True):
                _add(covariances, path, layers[path], 0, _squared(outputs_by_place(layers[path], delta)))
    return covariances


def _places(vectors: Tensor, rows: int) -> int:
    """How many places each of so many rows has, wherever the rows are in vectors `[row, in, place]`."""
    total = vectors.shape[0] * vectors.shape[2]
    return total // rows if total and total % rows == 0 else vectors.shape[2]


def _weighted(path: str, vectors: Tensor, weights: Tensor) -> Tensor:
    """Vectors `[row, in, place]`, or `[place, in, row]` where a layer's first axis is time, times √w of their row."""
    factors = weights.to(vectors).sqrt()
    if len(vectors) == len(weights):
        return vectors * factors[:, None, None]
    if vectors.shape[2] == len(weights):
        return vectors * factors
    raise MethodFailed(
        f"EK-FAC can't weight the inputs of the layer {path}, which is called with {len(vectors)} of {len(weights)} "
        "rows: choose another method, or leave the weights away."
    )


def inputs_by_place(layer: LinearLayer, inputs: Tensor) -> Tensor:
    """The vectors a that a layer is applied to, with a last 1 where it has a bias in θ.

    Args:
        layer: the layer.
        inputs: of a call, `[row, …]`, or without that axis where all rows share them.

    Returns:
        `[row, place, in]`.
    """
    if isinstance(layer, nn.Conv2d):
        places = patches(layer, inputs.reshape(-1, *inputs.shape[-3:])).mT
    else:
        places = torch.atleast_2d(inputs).unsqueeze(1).flatten(1, -2)
    return with_ones(places) if _trains_bias(layer) else places


def outputs_by_place(layer: LinearLayer, deltas: Tensor) -> Tensor:
    """The gradients δ at a layer's outputs.

    Args:
        layer: the layer.
        deltas: of a call, `[row, …]`, or without that axis where all rows share its inputs.

    Returns:
        `[row, out, place]`.
    """
    if isinstance(layer, nn.Conv2d):
        return deltas.reshape(-1, *deltas.shape[-3:]).flatten(2)
    return torch.atleast_2d(deltas).unsqueeze(1).flatten(1, -2).mT


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
