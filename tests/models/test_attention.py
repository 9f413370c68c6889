"""Attention written out: what the library's own gives, at any number of places, with all derivatives."""

import pytest
import torch
from torch.func import hessian, vmap
from transformers import AutoConfig, AutoModel

from fimo.models.attention import VECTOR, attention, softmax, write_out_attention
from fimo.models.pretrained import ATTENTION

KINDS = {
    "bert": {},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24},
    "roberta": {"pad_token_id": 1},
    "albert": {"embedding_size": 16},
    "electra": {"embedding_size": 16},
    "mpnet": {},
}
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24, "vocab_size": 20}


def plainly(query, key, value, mask):
    """Keys and values repeated for each head of their group."""
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
    weights = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5 + mask, -1)
    return (weights @ value).transpose(1, 2), weights


@pytest.mark.parametrize("places", [1, 3, VECTOR - 1, VECTOR, VECTOR + 5])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_groups_of_heads(places, groups, dtype):
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, heads, places, 8, dtype=dtype) for heads in (4, groups, groups))
    mask = (torch.rand(3, 1, places, places) < 0.3).to(dtype) * torch.finfo(dtype).min
    found = attention(torch.nn.Identity().eval(), query, key, value, mask)
    for ours, theirs in zip(found, plainly(query, key, value, mask), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("places", [1, 2, 7, VECTOR - 1, VECTOR])
def test_the_softmax_of_few_numbers(places):
    """With every derivative that the methods take, also where all but one number are the lowest there is."""
    torch.manual_seed(0)
    logits = torch.randn(5, places)
    logits[0, 1:] = torch.finfo(logits.dtype).min
    for ours, theirs in zip(
        (softmax(logits), vmap(softmax)(logits), hessian(lambda row: softmax(row)[0])(logits[0])),
        (torch.softmax(logits, -1), torch.softmax(logits, -1), hessian(lambda row: row.softmax(-1)[0])(logits[0])),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_give_what_the_librarys_own_give(kind):
    torch.manual_seed(0)
    config = AutoConfig.for_model(**{"model_type": kind, **SIZES, **KINDS[kind]})
    model = AutoModel.from_config(config, attn_implementation=ATTENTION).eval()
    tokens, mask = torch.randint(2, 20, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[0, 4:] = 0
    with torch.no_grad():
        before = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        write_out_attention(model)
        after = model(input_ids=tokens, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(after[mask.bool()], before[mask.bool()])
    assert (model.config._attn_implementation == ATTENTION) == (kind == "mpnet")
