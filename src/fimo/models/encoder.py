"""Text encoders of the transformers library as classifiers of sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification

from fimo.models.attention import write_out_attention
from fimo.models.attention_masks import mask_form, model_inputs
from fimo.models.pretrained import (
    head_order,
    in_order,
    new_model,
    pretrained_model,
    require_words,
)

EXAMPLE = "(bert, distilbert, roberta, …) of a new encoder"


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
        if name is None:
            self.encoder = new_model(config, AutoModel, EXAMPLE, vocab_size=inputs)
        else:
            self.encoder = pretrained_model(name, AutoModel)
            require_words(self.encoder, name, inputs)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None
        write_out_attention(self.encoder)
        self.mask_form = mask_form(self.encoder, lambda output, mask: output.last_hidden_state[:, 0])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.config.hidden_size, outputs)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits `[row, class]` from `input_ids` and `attention_mask`, each `[row, place]`."""
        output: Any = self.encoder(**model_inputs(self.encoder, inputs, self.mask_form))
        return self.head(self.dropout(output.last_hidden_state[:, 0]))


class SequenceClassifier(nn.Module):
    """A sequence classifier of the transformers library with its own head.

    Args:
        inputs: words of the vocabulary.
        outputs: number of classes, labels or numbers.
        name: a folder or a name on the hub (see `fimo.hub`).
        classes: names of the data's classes; the head's outputs are put into their order.
        task: of the data, or None.

    Raises:
        UserError: where there is no such classifier, or it doesn't fit the vocabulary, the classes or the task.
    """

    pretrained = True

    def __init__(
        self, inputs: int, outputs: int, name: str, classes: Sequence[str] | None = None, task: str | None = None
    ) -> None:
        super().__init__()
        self.model = pretrained_model(name, AutoModelForSequenceClassification, outputs)
        require_words(self.model, name, inputs)
        self.order = head_order(self.model.config, name, outputs, classes, task)
        write_out_attention(self.model)
        self.mask_form = mask_form(self.model, lambda output, mask: output.logits)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits `[row, class]` from `input_ids` and `attention_mask`, each `[row, place]`."""
        output: Any = self.model(**model_inputs(self.model, inputs, self.mask_form))
        return in_order(output.logits, self.order)
