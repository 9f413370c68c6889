"""Layers of decoders written out in torch's own operations and in the precision of their parameters.

The transformers library takes the softmax of attention, and root-mean-square norms, in single precision whatever the
parameters are in. Scores in double precision are then right to seven digits and not to fifteen. GPT-2's linear layers
hold their weight transposed, in a class of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask
from transformers.pytorch_utils import Conv1D

from fimo.models.norms import RootMeanSquareNorm
from fimo.models.pretrained import ATTENTION

# The name under which the transformers library knows `attention`.
WRITTEN_OUT = "written_out"
# Tokens at which a model is looked at with attention of both kinds.
PROBED_TOKENS = 6


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor]:
    """softmax(q kᵀ s + mask) v in the precision of q, with groups of heads that share keys and values.

    Args:
        module: which attends; in training mode weights are dropped.
        query: q, `[row, head, place, width]`.
        key: k, `[row, group, place, width]`.
        value: v, `[row, group, place, width]`.
        attention_mask: summand of the logits, `[row, 1, place, place]`, or None.
        scaling: s; None for 1/√width.
        dropout: probability with which a weight is dropped.
        softcap: c, where logits x become c tanh(x/c).
        others: which the library passes to every kind of attention.

    Returns:
        `[row, place, head, width]`, and the weights `[row, head, place, place]`.
    """
    heads = query.shape[1] // key.shape[1]
    if heads > 1:
        key, value = (t.repeat_interleave(heads, 1) for t in (key, value))
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    if attention_mask is not None:
        logits = logits + attention_mask
    weights = functional.dropout(torch.softmax(logits, -1), dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register(WRITTEN_OUT, attention)
AttentionMaskInterface.register(WRITTEN_OUT, eager_mask)


def write_out(model: PreTrainedModel) -> None:
    """Put plain layers in the place of those that work in single precision or hold transposed weights; in place.

    Attention stays where a model can't take another one, and a norm is replaced only by one that gives the same.
    Names of parameters stay what they are.

    Args:
        model: of the transformers library.
    """
    before = _logits(model)
    if getattr(model, "_supports_attention_backend", False):
        model.set_attn_implementation(WRITTEN_OUT)
        if not torch.allclose(_logits(model), before, rtol=1e-3, atol=1e-4):  # it has more to it, as attention sinks
            model.set_attn_implementation(ATTENTION)
    for parent, name, module in list(_children(model)):
        if type(module) is Conv1D:
            setattr(parent, name, _linear(module))
        elif type(module).__name__.endswith("RMSNorm") and (norm := _norm(module)) is not None:
            setattr(parent, name, norm)


@torch.no_grad()
def _logits(model: PreTrainedModel) -> Tensor:
    """Logits at a few tokens, in eval mode."""
    training = model.training
    tokens = 1 + torch.arange(2 * PROBED_TOKENS, device=model.device) % (model.config.vocab_size - 1)
    logits = model.eval()(input_ids=tokens.reshape(2, -1), use_cache=False).logits.float()
    model.train(training)
    return logits


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
