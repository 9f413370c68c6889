"""Text encoders of the transformers library as classifiers of sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from fimo import hub
from fimo.errors import UserError, short

# Attention written out in torch's own operations: fused attention has neither forward mode nor double backward.
ATTENTION = "eager"


class Encoder(nn.Module):
    """An encoder and a linear layer on its last hidden state at the first token ([CLS]).

    Parameters that take no part (a pooler) are removed: all that are left are θ. The encoder is pretrained, or drawn
    by torch's generator from a config; the linear layer is drawn after it.

    Args:
        inputs: words of the vocabulary.
        outputs: number of classes.
        name: of a pretrained encoder, a folder or a name on the hub (see `fimo.hub`), or None.
        config: of a new encoder where `name` is None: `model_type` (bert, distilbert, roberta, …) and the settings of
            that type; the vocabulary is that of the data.
        dropout: between encoder and linear layer.

    Raises:
        UserError: where there is no such encoder, or it doesn't fit the vocabulary.
    """

    pretrained = True  # `name` names files that belong to what this network is

    def __init__(
        self,
        inputs: int,
        outputs: int,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = _new(config, inputs) if name is None else _pretrained(AutoModel, name, inputs)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # type: ignore[assignment]
        _check_mask(self.encoder)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.config.hidden_size, outputs)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits `[row, class]` from `input_ids` and `attention_mask`, each `[row, place]`."""
        hidden = self.encoder(**model_inputs(self.encoder, inputs)).last_hidden_state[:, 0]
        return self.head(self.dropout(hidden))


class SequenceClassifier(nn.Module):
    """A sequence classifier of the transformers library with its own head.

    Args:
        inputs: words of the vocabulary.
        outputs: number of classes.
        name: a folder or a name on the hub (see `fimo.hub`).

    Raises:
        UserError: where there is no such classifier, or it doesn't fit the vocabulary or the classes.
    """

    pretrained = True

    def __init__(self, inputs: int, outputs: int, name: str) -> None:
        super().__init__()
        self.model = _pretrained(AutoModelForSequenceClassification, name, inputs)
        if self.model.config.num_labels != outputs:
            raise UserError(
                f"The classifier {name} must have the {outputs} classes of the data, found "
                f"{self.model.config.num_labels}."
            )
        _check_mask(self.model)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits `[row, class]` from `input_ids` and `attention_mask`, each `[row, place]`."""
        return self.model(**model_inputs(self.model, inputs)).logits


def model_inputs(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs of a model of the transformers library: token numbers, and the mask as a summand of attention's logits.

    transformers would look into a mask `[row, place]` to choose its way, which `vmap` can't follow; it takes one of
    four axes `[row, head, query, key]` as it is.

    Args:
        model: whose dtype and positions matter.
        inputs: `input_ids` and `attention_mask`, each `[row, place]`.

    Returns:
        `input_ids` `[row, place]` and `attention_mask` `[row, 1, 1, place]`: 0 at words, the lowest number elsewhere.

    Raises:
        UserError: for sentences that are longer than the model's positions.
    """
    tokens, mask = inputs["input_ids"], inputs["attention_mask"]
    if tokens.shape[-1] > (longest := _longest(model)):
        raise UserError(
            f"Sentences have up to {tokens.shape[-1]} tokens, and the network takes {longest}: lower data.max_length."
        )
    away = 1 - mask[:, None, None, :].to(model.dtype)
    return {"input_ids": tokens, "attention_mask": away * torch.finfo(model.dtype).min}


@torch.no_grad()
def _check_mask(model: PreTrainedModel) -> None:
    """Refuse a type of model that takes the mask of `model_inputs` otherwise than its own.

    Raises:
        UserError: for decoders, and for encoders that read more into a mask than what is added to attention.
    """
    tokens = (1 + torch.arange(8) % (model.config.vocab_size - 1)).reshape(2, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    training = model.training
    ours = model.eval()(**model_inputs(model, {"input_ids": tokens, "attention_mask": mask}))[0]
    theirs = model(input_ids=tokens, attention_mask=mask)[0]
    model.train(training)
    rows = ours.dim() == 3 and (slice(None), slice(0, 2)) or ...  # hidden states of padding may be anything
    if not torch.allclose(ours[rows], theirs[rows], rtol=1e-4, atol=1e-4):
        raise UserError(
            f"A {type(model).__name__} can't be used here: it takes another attention mask than encoders as BERT do; "
            "choose such an encoder."
        )


def _longest(model: PreTrainedModel) -> int:
    """How many tokens there are positions for. Some types (RoBERTa) count from behind the padding token's number."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings"):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return int(getattr(model.config, "max_position_embeddings", None) or 10**9)


def _new(config: Mapping[str, Any] | None, vocabulary: int) -> PreTrainedModel:
    if not config or "model_type" not in config:
        raise UserError(
            f"model.config must say the model_type (bert, distilbert, roberta, …) of a new encoder where model.name "
            f"is null, found {config!r}."
        )
    hub.quiet()
    settings = {"pad_token_id": 0, **config, "vocab_size": vocabulary}
    try:
        return AutoModel.from_config(AutoConfig.for_model(**settings), attn_implementation=ATTENTION)
    except (ValueError, TypeError, ZeroDivisionError) as reason:
        raise UserError(f"model.config does not make an encoder: {short(reason)}.") from reason


def _pretrained(kind: Any, name: str, vocabulary: int) -> PreTrainedModel:
    hub.quiet()
    folder = hub.find(name)
    options = {"attn_implementation": ATTENTION, "dtype": torch.float32, "use_safetensors": True}
    options["trust_remote_code"] = False  # code from the hub is never run
    try:
        model, loading = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, **options)
    except (ValueError, OSError, RuntimeError, SafetensorError) as reason:
        raise UserError(f"{name} can't be loaded as a text model ({short(reason)}).") from reason
    # transformers would draw what is missing at random, and say so in a warning. A pooler is not used.
    if missing := sorted(key for key in loading["missing_keys"] if kind is not AutoModel or "pooler" not in key):
        raise UserError(f"{name} lacks weights of a {type(model).__name__}: {missing[0]} and {len(missing) - 1} more.")
    if model.config.vocab_size < vocabulary:
        raise UserError(
            f"The network {name} has embeddings of {model.config.vocab_size} words, and the tokenizer of the data has "
            f"{vocabulary}: choose the network's own tokenizer by data.tokenizer."
        )
    return model
