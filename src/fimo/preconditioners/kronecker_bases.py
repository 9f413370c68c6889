"""The bases of EK-FAC: for each layer the eigenvectors of its Kronecker factors, and gradients in their coordinates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fimo.gradients import DenseGradients, Gradients
from fimo.gradients.convolution import Conv2dGradients
from fimo.gradients.cotangents import Cotangents, of_curvature
from fimo.gradients.footprint import activation_bytes, used_parameters
from fimo.gradients.layers import LayerGradients
from fimo.gradients.network import NetworkGradients
from fimo.gradients.passes import recorded_calls
from fimo.memory import BLOCK_BYTES
from fimo.preconditioners.layer_covariances import layer_covariances
from fimo.problem import Problem
from fimo.rows import Rows

# Inputs or outputs of a layer, whose covariance is decomposed: a language model's head has as many as words.
MOST_SIDE = 16384


@dataclass(frozen=True)
class LayerBasis:
    """The basis Q of one layer, a Kronecker product of two.

    Attributes:
        names: of the weight and, where there is one, the bias, which is the last column of the weight.
        left: eigenvectors of the covariance of the gradients at the layer's outputs, `[out, out]`.
        right: eigenvectors of the covariance of its inputs, `[in, in]`.
    """

    names: tuple[str, ...]
    left: Tensor
    right: Tensor

    def rotated(self, gradients: Gradients) -> Rotated:
        """Qᵀ times the layer's part of each gradient, `[row, out, in]`: in factors where the gradients are."""
        part = gradients.part(self.names[0]) if isinstance(gradients, NetworkGradients) else gradients
        if isinstance(part, LayerGradients):
            return part.rotated(self.left, self.right)
        assert isinstance(part, DenseGradients)
        return Matrices(self.left.T @ self._matrices(part.tensors) @ self.right)

    def multiplied(self, eigenvalues: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Q diag(eigenvalues) Qᵀ times the layer's part of vectors.

        Args:
            eigenvalues: `[out, in]`.
            tensors: of vectors, `[row, *parameter shape]` by name.

        Returns:
            The layer's tensors.
        """
        rotated = self.left.T @ self._matrices(tensors) @ self.right
        sizes = [tensors[name][0, 0].numel() for name in self.names]
        parts = (self.left @ (rotated * eigenvalues) @ self.right.T).split(sizes, 2)
        return {name: part.reshape(tensors[name].shape) for name, part in zip(self.names, parts, strict=True)}

    def _matrices(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Weight and bias of each row as one matrix, `[row, out, in]`."""
        blocks = [tensors[name] for name in self.names]
        return torch.cat([block.reshape(*block.shape[:2], -1) for block in blocks], 2)


class Rotated(Protocol):
    """One layer's part of some gradients in the coordinates of its basis."""

    def pieces(self) -> Iterator[Tensor]:
        """Of some rows after others, `[row, out, in]`."""
        ...

    def squared_entries(self) -> Tensor:
        """Sum over rows of the squared entries, `[out, in]`."""
        ...

    def weighted_squares(self, weights: Tensor) -> Tensor:
        """Sum over entries of their squares times weights `[out, in]`, `[row]`."""
        ...


@dataclass(frozen=True)
class Matrices:
    """`Rotated` as it is, `[row, out, in]`."""

    entries: Tensor

    def pieces(self) -> Iterator[Tensor]:
        """All rows."""
        yield self.entries

    def squared_entries(self) -> Tensor:
        """Sum over rows of the squared entries, `[out, in]`."""
        return self.entries.square().sum(0)

    def weighted_squares(self, weights: Tensor) -> Tensor:
        """Sum over entries of their squares times weights `[out, in]`, `[row]`."""
        return (self.entries.square() * weights).sum((1, 2))


def layer_bases(problem: Problem, root: Cotangents = of_curvature) -> Iterator[tuple[str, LayerBasis]]:
    """The bases of all layers in θ that Kronecker factors exist for and that the outputs depend on, by path.

    Args:
        problem: network and training rows.
        root: of the curvature, see `fimo.curvature.roots`.
    """
    names = {id(p): name for name, p in used_parameters(problem).items()}
    layers = list(supported(problem.network, set(names)))
    if not layers:
        return
    rows = max(1, BLOCK_BYTES // (activation_bytes(problem) + _patch_bytes(problem, dict(layers))))
    covariances = layer_covariances(problem, dict(layers), batches(problem.train, rows), root)
    for path, layer in layers:
        if path in covariances:  # not where a weight is used without calling its layer
            left, right = (torch.linalg.eigh(covariance)[1] for covariance in covariances[path])
            own = [p for p in (layer.weight, layer.bias) if id(p) in names]
            yield path, LayerBasis(tuple(names[id(p)] for p in own), left, right)


def _patch_bytes(problem: Problem, layers: Mapping[str, nn.Module]) -> int:
    """Bytes of a row's patches at the convolution that has the most of them; one layer is taken after another."""
    convolutions = {path: layer for path, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    calls = recorded_calls(problem.network, convolutions, problem.train.keep(slice(0, 2)).inputs)[1]
    patches = [
        Conv2dGradients.extra_bytes(convolutions[path], given, output)
        for path, made in calls.items()
        for given, output in made
        if len(given)
    ]
    return max(patches, default=0)


def batches(rows: Rows, size: int) -> Iterator[Tensor]:
    """Positions of at most `size` rows each; of sequences only such as are equally long.

    The covariance of a layer's inputs is over places too, where padding would count as any other.

    Args:
        rows: all of them.
        size: rows in a batch, at most.
    """
    numbers = torch.arange(len(rows))
    alike = [numbers] if rows.lengths is None else [numbers[rows.lengths == n] for n in rows.lengths.unique()]
    return itertools.chain.from_iterable(some.split(size) for some in alike)


def supported(network: nn.Module, used: set[int]) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """Layers that have Kronecker factors, with their paths; a weight that two layers share counts with the first.

    A layer with more than `MOST_SIDE` inputs or outputs (the words of a language model's head) has none.

    Args:
        network: the network.
        used: identities (`id`) of the parameters in θ that the outputs depend on.
    """
    seen: set[int] = set()
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and (module.groups > 1 or module.padding_mode != "zeros"):
            continue
        # A weight that is computed from other parameters is none itself.
        if isinstance(module, (nn.Linear, nn.Conv2d)) and id(module.weight) in used - seen:
            if max(len(module.weight), module.weight[0].numel()) > MOST_SIDE:
                continue
            seen.add(id(module.weight))
            yield path, module
