"""Attention of the transformers library written out in torch's own operations, in the precision of its arguments.

The library's own takes the softmax of decoders in single precision whatever the parameters are in: scores in double
precision are then right to seven digits and not to fifteen. It also repeats keys and values for each head that shares
them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from fimo.models.attention_masks import positions
from fimo.models.pretrained import ATTENTION

# The name under which the transformers library knows `attention`.
WRITTEN_OUT = "written_out"
# At most so many tokens are in the sequences that models are probed with.
PROBED_TOKENS = 6
# Numbers of single precision in the widest vector of a CPU. Over fewer torch takes a softmax one by one, which takes
# ten times as long.
VECTOR = 16


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
        query: q, `[row, head, place, width]`; the heads of a group stand one behind another.
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
    rows, heads, places, width = query.shape
    # The heads of a group are more places that look at the same keys and values.
    scaled = query * (width**-0.5 if scaling is None else scaling)
    logits = scaled.reshape(rows, key.shape[1], -1, width) @ key.mT
    logits = logits.reshape(rows, heads, places, key.shape[2])
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    if attention_mask is not None:
        logits = logits + attention_mask
    weights = functional.dropout(softmax(logits), dropout, module.training)
    attended = weights.reshape(rows, key.shape[1], -1, key.shape[2]) @ value
    return attended.reshape(rows, heads, places, -1).transpose(1, 2).contiguous(), weights


def softmax(logits: Tensor) -> Tensor:
    """The softmax over the last axis; over few numbers quicker than torch's own on a CPU.

    Args:
        logits: `[…, place]`.
    """
    places = logits.shape[-1]
    if not (1 < places < VECTOR and logits.dtype == torch.float32 and logits.device.type == "cpu"):
        return torch.softmax(logits, -1)
    return torch.softmax(functional.pad(logits, (0, VECTOR - places), value=-torch.inf), -1)[..., :places]


AttentionInterface.register(WRITTEN_OUT, attention)
AttentionMaskInterface.register(WRITTEN_OUT, eager_mask)


def write_out_attention(model: PreTrainedModel) -> None:
    """Let a model attend like this, in place; one that can't, or whose attention is more than this, stays as it is.

    Args:
        model: of the transformers library, that takes tokens.
    """
    if not getattr(model, "_supports_attention_backend", False):
        return
    before = _outputs(model)
    model.set_attn_implementation(WRITTEN_OUT)
    if not torch.allclose(_outputs(model), before, rtol=1e-3, atol=1e-4):  # it has more to it, as attention sinks
        model.set_attn_implementation(ATTENTION)


@torch.no_grad()
def _outputs(model: PreTrainedModel) -> Tensor:
    """Logits or hidden states at a few tokens, in eval mode."""
    training = model.training
    count = 2 * min(PROBED_TOKENS, positions(model))
    tokens = 1 + torch.arange(count, device=model.device) % (model.config.vocab_size - 1)
    outputs = model.eval()(input_ids=tokens.reshape(2, -1))[0].float()
    model.train(training)
    return outputs
