"""Gradients of normalisations with a scale: as they are, in closed form."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn
from torch.nn import functional

from fimo.gradients.dense import DenseGradients
from fimo.gradients.layers import Layer, parameter_names
from fimo.models.norms import RootMeanSquareNorm


class LayerNormGradients(DenseGradients, Layer):
    """A layer normalisation with a scale: its gradients as they are, in closed form.

    With x̂ the normalised input, the gradient of the scale is Σ over places x̂ δ, and that of the shift Σ δ.
    """

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """Layer normalisations that have a scale."""
        return type(module) is nn.LayerNorm and module.weight is not None

    @classmethod
    def of(cls, name: str, module: nn.LayerNorm, inputs: Tensor, deltas: Tensor) -> Self:
        """Sums over places.

        Args:
            name: of the module.
            module: the layer normalisation.
            inputs: what it normalises, `[row, …]`.
            deltas: δ, the gradients at its outputs, `[row, …]`.

        Returns:
            A gradient for each row.
        """
        weight, bias = parameter_names(name, module)
        scales = functional.layer_norm(inputs, module.normalized_shape, eps=module.eps) * deltas
        places = tuple(range(1, scales.dim() - len(module.normalized_shape)))
        tensors = {weight: scales} if bias is None else {weight: scales, bias: deltas}
        return cls({key: tensor.sum(places) if places else tensor for key, tensor in tensors.items()})


class RootMeanSquareNormGradients(DenseGradients, Layer):
    """A root-mean-square norm: with x̂ the normalised input, the gradient of the scale is Σ over places x̂ δ."""

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """The norms of decoders, as they are written out here."""
        return type(module) is RootMeanSquareNorm

    @classmethod
    def of(cls, name: str, module: RootMeanSquareNorm, inputs: Tensor, deltas: Tensor) -> Self:
        """Sums over places.

        Args:
            name: of the module.
            module: the norm.
            inputs: what it normalises, `[row, …, width]`.
            deltas: δ, the gradients at its outputs, `[row, …, width]`.

        Returns:
            A gradient for each row.
        """
        weight, _ = parameter_names(name, module)
        scales = module.normalised(inputs) * deltas
        return cls({weight: scales if scales.dim() == 2 else scales.flatten(1, -2).sum(1)})
