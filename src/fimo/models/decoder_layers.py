"""Layers of decoders written out in torch's own operations and in the precision of their parameters.

The transformers library takes the softmax of attention (see `fimo.models.attention`), and root-mean-square norms, in
single precision whatever the parameters are in. GPT-2's linear layers hold their weight transposed, in a class of their
own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from fimo.models.attention import write_out_attention
from fimo.models.norms import RootMeanSquareNorm


def write_out(model: PreTrainedModel) -> None:
    """Put plain layers in the place of those that work in single precision or hold transposed weights; in place.

    Attention stays where a model can't take another one, and a norm is replaced only by one that gives the same.
    Names of parameters stay what they are.

    Args:
        model: of the transformers library.
    """
    write_out_attention(model)
    for parent, name, module in list(_children(model)):
        if type(module) is Conv1D:
            setattr(parent, name, _linear(module))
        elif type(module).__name__.endswith("RMSNorm") and (norm := _norm(module)) is not None:
            setattr(parent, name, norm)


def _children(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for parent in model.modules():
        for name, module in parent.named_children():
            yield parent, name, module


def _linear(module: Conv1D) -> nn.Linear:
    """The same function of its inputs, the weight with the axes that linear layers have."""
    fan_in, fan_out = module.weight.shape
    linear = nn.Linear(fan_in, fan_out, device="meta")
    linear.weight = nn.Parameter(module.weight.detach().T.contiguous(), module.weight.requires_grad)
    linear.bias = module.bias
    return linear.train(module.training)


@torch.no_grad()
def _norm(module: nn.Module) -> RootMeanSquareNorm | None:
    """The same norm in the precision of its parameters, or None where it is another one."""
    weight = getattr(module, "weight", None)
    eps = next((getattr(module, key) for key in ("variance_epsilon", "eps") if hasattr(module, key)), None)
    if not isinstance(weight, nn.Parameter) or weight.dim() != 1 or not isinstance(eps, float):
        return None
    theirs = copy.deepcopy(module).double()
    inputs = torch.linspace(-2, 3, 3 * len(weight), dtype=torch.float64, device=weight.device).reshape(3, -1)
    for offset in (0.0, 1.0):
        ours = RootMeanSquareNorm(nn.Parameter(weight.double()), eps, offset)
        if torch.allclose(ours(inputs), theirs(inputs), rtol=1e-5, atol=1e-6):
            return RootMeanSquareNorm(weight, eps, offset).train(module.training)
    return None
