"""Causal language models of the transformers library: each place's logits for the next token."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from fimo.errors import UserError, short
from fimo.models.adapters import with_adapters
from fimo.models.attention_masks import CAUSAL_FORMS, mask_form, positions
from fimo.models.decoder_layers import write_out
from fimo.models.pretrained import new_model, pretrained_model, require_words
from fimo.rows import Inputs, Rows, by_name

EXAMPLE = "(gpt2, llama, qwen2, gpt_neox, gemma, opt, …) of a new decoder"

# Tokens at which a model is looked at, and units of the last place of its largest logit that count as rounding.
LOOKED_AT = 6
ROUNDING = 16


class CausalLM(nn.Module):
    """A decoder with its own head, as a function of token numbers that `vmap` takes.

    Attention and norms are written out in the precision of the parameters (see `fimo.models.decoder_layers`), the mask
    is made here, and a token's position is the number of tokens before it, so that padding at either end does not
    matter.

    Args:
        inputs: words of the vocabulary; None for those of the model.
        outputs: it doesn't matter: the model has a logit for each of its words.
        name: of a pretrained model, a folder or a name on the hub (see `fimo.hub`), or None.
        config: of a new model where `name` is None: `model_type` (gpt2, llama, qwen2, gpt_neox, gemma, opt, …) and the
            settings of that type; the vocabulary is that of the data, or larger where the config says so.
        adapters: settings of new adapters in its linear layers, all else being frozen (see `fimo.models.adapters`);
            None for none.
        model: one that is there already, in place of `name` and `config`; it is copied.

    Raises:
        UserError: where there is no such decoder, it doesn't fit the vocabulary, or it is no causal model, see
            `require_causal`.
    """

    pretrained = True  # `name` names files that belong to what this network is

    def __init__(
        self,
        inputs: int | None = None,
        outputs: int | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        adapters: Mapping[str, Any] | None = None,
        model: PreTrainedModel | None = None,
    ) -> None:
        super().__init__()
        if model is not None:
            if not isinstance(getattr(model, "config", None), PreTrainedConfig) or not isinstance(model, nn.Module):
                raise _no_causal_model(model, "a folder or a name on the hub is given as name=")
            self.model = copy.deepcopy(model)
        elif name is None:
            words = max(inputs or 0, int((config or {}).get("vocab_size") or 0))
            self.model = new_model(config, AutoModelForCausalLM, EXAMPLE, vocab_size=words, pad_token_id=None)
        else:
            self.model = pretrained_model(name, AutoModelForCausalLM)
        if name is not None and inputs is not None:
            require_words(self.model, name, inputs)
        require_causal(self.model)
        write_out(self.model)
        if adapters is not None:
            self.model = with_adapters(self.model, adapters)
        self.takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters
        self.mask_form = mask_form(self.model, _logits_at_tokens, CAUSAL_FORMS, self._options)

    def _options(self, mask: Tensor) -> dict[str, Any]:
        """What the model takes beside tokens and mask: a token's position is the number of tokens before it."""
        positions = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if self.takes_positions else {}
        return {"use_cache": False, **positions}

    def require_rows(self, rows: Rows, name: str) -> None:
        """Refuse rows that are padding alone: what the model gives there says nothing.

        Args:
            rows: token numbers, with their mask perhaps.
            name: of their split, `train` or `test`.

        Raises:
            UserError: naming the first such row.
        """
        inputs = rows.inputs
        if isinstance(inputs, Mapping) and "attention_mask" in inputs:
            empty = ~inputs["attention_mask"].flatten(1).bool().any(1)
            if bool(empty.any()):
                raise UserError(
                    f"Every row must have a token, found none in row {int(rows.index[empty.nonzero()[0, 0]])} of "
                    f"{name}, where attention_mask is 0 at all places: remove this row, or give it the "
                    "mask of its tokens."
                )

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits `[row, …, place, word]` from `input_ids` and `attention_mask`, each `[row, …, place]`.

        A row may be several sequences, `[row, sequence, place]`, such as two answers to one question.

        Args:
            inputs: token numbers, and 1 at tokens and 0 at padding; without the mask, or token numbers alone, no place
                is padding.

        Raises:
            UserError: for sequences that are longer than the model's positions.
        """
        given = by_name(inputs, "input_ids")
        shape = given["input_ids"].shape
        tokens = given["input_ids"].flatten(0, -2)
        mask = given["attention_mask"].flatten(0, -2) if "attention_mask" in given else torch.ones_like(tokens)
        if shape[-1] > (longest := positions(self.model)):
            raise UserError(
                f"Sequences have up to {shape[-1]} tokens, and the network has positions for {longest}: cut the rows "
                "to so many tokens (of a data set that a command reads, data.max_length does it)."
            )
        output = self.model(input_ids=tokens, attention_mask=self.mask_form(self.model, mask), **self._options(mask))
        return output.logits.unflatten(0, shape[:-1])


def _logits_at_tokens(output: Any, mask: Tensor) -> Tensor:
    """Logits at tokens, and zeros at padding, of which no two forms of a mask need agree."""
    return torch.where(mask[..., None].bool(), output.logits, 0.0)


@torch.no_grad()
def require_causal(model: PreTrainedModel) -> None:
    """Refuse a model that has no logits for the next token, or that sees the token that it predicts.

    It is looked at on a few tokens, of which the last is changed: that must not matter before it.

    Args:
        model: of the transformers library.

    Raises:
        UserError: saying what it does in their place.
    """
    places, training = min(LOOKED_AT, positions(model)), [module.training for module in model.modules()]
    try:
        words = int(model.config.vocab_size)
        tokens = (1 + torch.arange(places, device=model.device) % (words - 1)).repeat(2, 1)
        tokens[1, -1] = 0
        logits = model.eval()(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    except Exception as reason:  # of any kind of model, which may want other inputs
        advice = f"this one does not give logits of tokens and a mask alone ({short(reason)})"
        raise _no_causal_model(model, advice) from reason
    finally:
        for module, before in zip(model.modules(), training, strict=True):
            module.training = before
    if logits.shape[:-1] != tokens.shape:
        raise _no_causal_model(model, f"the logits of this one are of shape {list(logits.shape)}")
    changes, rounding = (logits[1] - logits[0])[:-1].abs(), ROUNDING * torch.finfo(logits.dtype).eps
    if bool((changes > rounding * logits.abs().max()).any()):
        raise _no_causal_model(
            model, "the logits of this one change with a later token, so that it sees the token that it predicts"
        )


def _no_causal_model(model: object, reason: str) -> UserError:
    return UserError(
        "model must be a causal language model of the transformers library, with a head that gives logits for the next "
        f"token at every place of a row, such as what AutoModelForCausalLM loads, found a {type(model).__name__}: "
        f"{reason}."
    )
