"""Tiny encoders of every kind of the transformers library, from configs and in folders."""

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2}
SIZES = {"hidden_size": 8, "intermediate_size": 12, "max_position_embeddings": 20, "initializer_range": 0.3, **LAYERS}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
# Parts of these are in single precision in a network of double precision: normalisation, or the softmax.
SINGLE = ("deberta", "modernbert")
NUMBERS = {f"{kind}_token_id": number for kind, number in (("bos", 2), ("eos", 3), ("cls", 2), ("sep", 3))}
# Windows of two places to either side, and every second layer looks everywhere.
SLIDING = {"local_attention": 4, "global_attn_every_n_layers": 2, **NUMBERS}
CONFIGS = {
    "bert": {"model_type": "bert", **SIZES},
    "roberta": {"model_type": "roberta", **SIZES},
    "electra": {"model_type": "electra", "embedding_size": 8, **SIZES},
    "albert": {"model_type": "albert", "embedding_size": 8, **SIZES},
    "mpnet": {"model_type": "mpnet", **SIZES},
    "deberta": {"model_type": "deberta", **SIZES, **RELATIVE},
    "deberta-v2": {"model_type": "deberta-v2", **SIZES, **RELATIVE},
    "modernbert": {"model_type": "modernbert", **SIZES, **SLIDING},
    "distilbert": {
        "model_type": "distilbert", "dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 12,
        "max_position_embeddings": 20, "initializer_range": 0.3,
    },
}  # fmt: skip


def saved(folder, kind="bert", labels=3, auto=AutoModelForSequenceClassification, **settings):
    """A tiny model in a folder, as its maker leaves it."""
    torch.manual_seed(3)
    config = AutoConfig.for_model(vocab_size=12, num_labels=labels, pad_token_id=0, **(CONFIGS[kind] | settings))
    model = auto.from_config(config).eval()
    model.save_pretrained(folder)
    return model
