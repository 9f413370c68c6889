"""Attention masks that `vmap` can follow, for every kind of encoder of the transformers library.

Most of the library's models look into a mask `[row, place]` to choose their way, which `vmap` can't follow, and take
one of four axes `[row, head, query, key]` as it is; models with sliding windows take one for each kind of layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from transformers import PreTrainedModel

from fimo.errors import UserError, short

# Places at which masks are compared, where the model has no windows that ask for more.
PROBED_PLACES = 64
# The window that decoders with a wider one are looked at with.
PROBED_WINDOW = 16
Form = Callable[[PreTrainedModel, Tensor], Any]


def added_to_logits(model: PreTrainedModel, mask: Tensor) -> Tensor:
    """The mask as a summand of attention's logits.

    Args:
        model: whose dtype matters.
        mask: `[row, place]`, 1 at words and 0 at padding.

    Returns:
        `[row, 1, 1, place]`: 0 at words, the lowest number elsewhere.
    """
    return (1 - mask[:, None, None, :].to(model.dtype)) * _lowest(model)


def _lowest(model: PreTrainedModel) -> float:
    """What makes a weight of attention 0, also where a model takes its softmax in single precision.

    It is never −∞ there: a place of padding may have nothing else to look at.
    """
    return max(torch.finfo(model.dtype).min, torch.finfo(torch.float32).min)


def by_kind_of_layer(model: PreTrainedModel, mask: Tensor) -> dict[str, Tensor]:
    """The summands of layers that look everywhere, and of those that look at a window around each place.

    Args:
        model: whose dtype and window matter.
        mask: `[row, place]`, 1 at words and 0 at padding.

    Returns:
        `full_attention`, `[row, 1, 1, place]`, and `sliding_attention`, `[row, 1, place, place]`.
    """
    everywhere = added_to_logits(model, mask)
    places = torch.arange(mask.shape[-1], device=mask.device)
    outside = (places[:, None] - places).abs() > model.config.sliding_window
    within = everywhere.masked_fill(outside[None, None], _lowest(model))
    return {"full_attention": everywhere, "sliding_attention": within}


def as_it_is(model: PreTrainedModel, mask: Tensor) -> Tensor:
    """The mask `[row, place]` itself.

    Args:
        model: it doesn't matter.
        mask: `[row, place]`, 1 at words and 0 at padding.
    """
    return mask


def causal(model: PreTrainedModel, mask: Tensor) -> Tensor:
    """The summand of a decoder's layers: no place looks at a later one, nor at padding.

    Args:
        model: whose dtype matters.
        mask: `[row, place]`, 1 at tokens and 0 at padding.

    Returns:
        `[row, 1, place, place]`: 0 at what a place looks at, the lowest number elsewhere.
    """
    places = torch.arange(mask.shape[-1], device=mask.device)
    later = places > places[:, None]
    return torch.maximum(later[None, None].to(model.dtype), 1 - mask[:, None, None, :].to(model.dtype)) * _lowest(model)


def causal_in_a_window(model: PreTrainedModel, mask: Tensor) -> Tensor:
    """The summand of a decoder all of whose layers look at a window of the places before each.

    Args:
        model: whose dtype and window matter.
        mask: `[row, place]`, 1 at tokens and 0 at padding.

    Returns:
        `[row, 1, place, place]`.
    """
    places = torch.arange(mask.shape[-1], device=mask.device)
    outside = places[:, None] - places >= model.config.sliding_window
    return causal(model, mask).masked_fill(outside[None, None], _lowest(model))


def causal_by_kind_of_layer(model: PreTrainedModel, mask: Tensor) -> dict[str, Tensor]:
    """The summands of a decoder's layers that look at all earlier places, and of those that look at a window.

    Args:
        model: whose dtype and window matter.
        mask: `[row, place]`, 1 at tokens and 0 at padding.

    Returns:
        `full_attention` and, where the model has a window, `sliding_attention`, each `[row, 1, place, place]`.
    """
    everywhere = {"full_attention": causal(model, mask)}
    if not getattr(model.config, "sliding_window", None):
        return everywhere
    return {**everywhere, "sliding_attention": causal_in_a_window(model, mask)}


# In the order in which they are tried; the last one is right for every model, but with most of them not under `vmap`.
FORMS: tuple[Form, ...] = (added_to_logits, by_kind_of_layer, as_it_is)
CAUSAL_FORMS: tuple[Form, ...] = (causal, causal_by_kind_of_layer, causal_in_a_window, as_it_is)


def model_inputs(model: PreTrainedModel, inputs: Mapping[str, Tensor], form: Form) -> dict[str, Any]:
    """Inputs of a model of the transformers library.

    Args:
        model: whose dtype and positions matter.
        inputs: `input_ids` and `attention_mask`, each `[row, place]`, and of pairs `token_type_ids`.
        form: of the mask, that of `mask_form`.

    Returns:
        `input_ids`, `attention_mask` and, where the model tells sentences of a pair apart by them, `token_type_ids`.

    Raises:
        UserError: for sentences that are longer than the model's positions.
    """
    tokens = inputs["input_ids"]
    if tokens.shape[-1] > (longest := positions(model)):
        raise UserError(
            f"Sentences have up to {tokens.shape[-1]} tokens, and the network takes {longest}: lower data.max_length."
        )
    types = {"token_type_ids": inputs["token_type_ids"]} if "token_type_ids" in inputs and _has_types(model) else {}
    return {"input_ids": tokens, "attention_mask": form(model, inputs["attention_mask"]), **types}


def _has_types(model: PreTrainedModel) -> bool:
    return (
        "token_type_ids" in inspect.signature(model.forward).parameters
        and (getattr(model.config, "type_vocab_size", 0) or 0) > 1
    )


@torch.no_grad()
def mask_form(
    model: PreTrainedModel,
    first: Callable[[Any, Tensor], Tensor],
    forms: Sequence[Form] = FORMS,
    options: Callable[[Tensor], Mapping[str, Any]] = lambda mask: {},
) -> Form:
    """The form in which a model takes a mask under `vmap`, so that its outputs are those with its own mask.

    Both are compared in eval mode on two rows of which one is padded, over more places than a window of the model has.

    Args:
        model: of the transformers library.
        first: what is used of the model's output, given the mask, `[row, …]`.
        forms: that are tried, the last of which is right for every model.
        options: what else the model is given, by its mask `[row, place]`.

    Returns:
        The form; `as_it_is` where no other is right, whether `vmap` takes it or not.

    Raises:
        UserError: for a model that wants other inputs.
    """
    config, device, training = model.config, model.device, model.training
    window = int(getattr(config, "sliding_window", None) or 0)
    length = min(positions(model), max(PROBED_PLACES, 2 * window + 2))
    if narrow := forms is CAUSAL_FORMS and window > PROBED_WINDOW:  # logits at twice a window of thousands fill memory
        config.sliding_window, length = PROBED_WINDOW, min(positions(model), PROBED_PLACES)
    tokens = (1 + torch.arange(2 * length, device=device) % (config.vocab_size - 1)).reshape(2, length)
    lengths = torch.tensor([[length], [max(1, length // 2)]], device=device)
    mask = (torch.arange(length, device=device) < lengths).long()
    try:
        theirs = first(model.eval()(input_ids=tokens, attention_mask=mask, **options(mask)), mask)
    except Exception as reason:  # of any kind of model, which may want other inputs
        raise UserError(
            f"A {type(model).__name__} can't be used here: it does not take tokens and a mask alone ({short(reason)}); "
            f"choose {'a decoder' if forms is CAUSAL_FORMS else 'an encoder as BERT is'}."
        ) from reason

    def agrees(form: Form) -> bool:
        def outputs(ids: Tensor, own: Tensor) -> Tensor:
            row = own[None]
            return first(model(input_ids=ids[None], attention_mask=form(model, row), **options(row)), row)[0]

        try:
            return torch.allclose(vmap(outputs)(tokens, mask), theirs, rtol=1e-4, atol=1e-4)
        except Exception:  # what a model raises for a mask of another form is its own matter
            return False

    chosen = next((form for form in forms if agrees(form)), as_it_is)
    if narrow:
        config.sliding_window = window
    model.train(training)
    return chosen


def positions(model: PreTrainedModel) -> int:
    """How many tokens there are positions for. Some types (RoBERTa) count from behind the padding token's number.

    Args:
        model: of the transformers library.
    """
    configured = int(getattr(model.config, "max_position_embeddings", None) or 10**9)
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings"):
            behind = 0 if module.padding_idx is None else module.padding_idx + 1
            return min(module.num_embeddings - behind, configured)
    return configured
