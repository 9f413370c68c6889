"""Models that are handed over as causal language models, and are none; rows that no such model can take."""

import pytest
import torch
from decoders import causal_lm, token_rows
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertLMHeadModel,
    BertModel,
    T5Config,
    T5ForConditionalGeneration,
)

import fimo
from fimo.errors import UserError
from fimo.models.causal_lm import CausalLM

SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": 9}
SIZES_OF_T5 = {"d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2, "vocab_size": 9}
NO_CAUSAL_MODELS = {
    "masked words": (lambda: BertForMaskedLM(BertConfig(**SMALL)), "change with a later token, so that it sees the"),
    "no head": (lambda: BertModel(BertConfig(**SMALL)), "does not give logits of tokens and a mask alone"),
    "a decoder without a head": (
        lambda: causal_lm("gpt2").model.transformer,
        "found a GPT2Model: this one does not",
    ),
    "both": (lambda: T5ForConditionalGeneration(T5Config(**SIZES_OF_T5)), "does not give logits of tokens"),
    "classes": (lambda: BertForSequenceClassification(BertConfig(**SMALL)), r"of this one are of shape \[2, 2\]"),
    "layer": (lambda: torch.nn.Linear(2, 2), "found a Linear: a folder or a name on the hub is given as name="),
    "name": (lambda: "gpt2", "found a str: a folder or a name on the hub is given as name="),
}


@pytest.mark.parametrize("make, message", NO_CAUSAL_MODELS.values(), ids=NO_CAUSAL_MODELS)
def test_what_is_no_causal_model_is_refused(make, message):
    with pytest.raises(UserError, match=f"^model must be a causal language model .*{message}"):
        fimo.CausalLM(model=make())


def test_an_encoder_that_is_a_decoder_is_taken():
    torch.manual_seed(0)
    theirs, inputs = BertLMHeadModel(BertConfig(**SMALL, is_decoder=True)).eval(), token_rows(3).inputs
    own = inputs["attention_mask"].bool()
    with torch.no_grad():
        torch.testing.assert_close(CausalLM(model=theirs)(inputs)[own], theirs(**inputs).logits[own])


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_row_of_padding_alone_is_refused(split):
    examples = {"train": token_rows(4), "test": token_rows(3)}
    examples[split].inputs["attention_mask"][2] = 0
    with pytest.raises(
        UserError, match=f"Every row must have a token, found none in row 2 of {split}, where attention"
    ):
        fimo.Problem(causal_lm(), fimo.NextToken(), **examples)
