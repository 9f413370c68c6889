"""Every kind of layer whose gradients can be taken by itself."""

from __future__ import annotations

from torch import nn

from fimo.gradients.convolution import Conv2dGradients
from fimo.gradients.embedding import EmbeddingGradients
from fimo.gradients.layers import Layer
from fimo.gradients.linear import LinearGradients
from fimo.gradients.norms import LayerNormGradients, RootMeanSquareNormGradients
from fimo.gradients.sequences import LinearSequenceGradients

# Of those that support a module and take its inputs, the first that is cheaper has it.
LAYERS: tuple[type[Layer], ...] = (
    LinearGradients,
    LinearSequenceGradients,
    EmbeddingGradients,
    LayerNormGradients,
    RootMeanSquareNormGradients,
    Conv2dGradients,
)


def kinds_of(module: nn.Module) -> list[type[Layer]]:
    """The kinds that support a module, as far as its type and settings say.

    Args:
        module: any.
    """
    return [kind for kind in LAYERS if kind.supports(module)]
