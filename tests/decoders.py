"""Tiny causal language models of every kind of the transformers library, and problems of tokens."""

import torch
from torch import nn

import fimo  # noqa: F401  (first: see fimo/compat.py)
from fimo.models.causal_lm import CausalLM
from fimo.models.next_token import NextToken
from fimo.problem import Problem
from fimo.rows import NO_LOSS, Rows

SIZES = {
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
    "max_position_embeddings": 40, "initializer_range": 0.3,
}  # fmt: skip
GROUPED = {**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2}
# Windows of four places, in the second layer or in every other one.
WINDOW = {"sliding_window": 4}
GEMMA = {**GROUPED, "head_dim": 4}
OPT = {key: size for key, size in SIZES.items() if key not in ("intermediate_size", "initializer_range")}
CONFIGS = {
    "gpt2": {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 40, "initializer_range": 0.3},
    "llama": {"model_type": "llama", **GROUPED},
    "llama, tied": {"model_type": "llama", "tie_word_embeddings": True, **GROUPED},
    "qwen2": {"model_type": "qwen2", **GROUPED},
    "qwen2, windows": {"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 1, **WINDOW, **GROUPED},
    "qwen3": {"model_type": "qwen3", "head_dim": 4, **GROUPED},
    "mistral": {"model_type": "mistral", **WINDOW, **GROUPED},
    "gpt_neox": {"model_type": "gpt_neox", **SIZES},
    "gemma": {"model_type": "gemma", **GEMMA},
    "gemma2": {"model_type": "gemma2", "query_pre_attn_scalar": 4, **WINDOW, **GEMMA},
    "gemma3": {"model_type": "gemma3_text", "query_pre_attn_scalar": 4, **WINDOW, **GEMMA},
    "opt": {"model_type": "opt", "ffn_dim": 12, "word_embed_proj_dim": 8, "init_std": 0.3, **OPT},
}


def causal_lm(kind="llama", words=9, **settings):
    """A new one in eval mode, with weights that are large enough for their effect to be seen."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CausalLM(words, config={**CONFIGS[kind], **settings}).eval()


def token_rows(rows, places=6, words=9, seed=0, prompts=True):
    """Sequences of 3 tokens and more, padded at their end; the first tokens of every third one carry no loss.

    The shortest are first, as methods take them, so that batches of positions are the same rows everywhere.
    """
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, places + 1, (rows,), generator=random).sort().values
    lengths[-1] = places
    tokens = torch.randint(1, words, (rows, places), generator=random)
    mask = (torch.arange(places) < lengths[:, None]).long()
    labels = torch.where(mask.bool(), tokens, NO_LOSS)
    if prompts:
        labels[1::3, :2] = NO_LOSS
    return Rows({"input_ids": tokens * mask, "attention_mask": mask}, labels, torch.arange(rows), lengths)


def language_problem(network=None, rows=9, tests=3, left_out=(0, 4, 7), dtype=torch.float64, words=9, **settings):
    network = causal_lm(words=words) if network is None else network
    train, test = token_rows(rows, words=words), token_rows(tests, words=words, seed=1)
    return Problem(network, NextToken(), train, test, left_out, **settings).to(dtype=dtype)


class Flat(nn.Module):
    """The same network with outputs `[row, place · word]`, which what stands in fimo.reference takes."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, inputs):
        return self.network(inputs).flatten(1)


class FlatNextToken(NextToken):
    """The same loss of such outputs."""

    output_axes = 1

    def loss(self, outputs, targets):
        return super().loss(outputs.unflatten(1, (targets.shape[1], -1)), targets)

    def require_targets(self, outputs, targets):
        pass


def flattened(problem):
    """A problem of matrices of outputs, nothing of which is ever cut, for explicit matrices."""
    whole = [Rows(rows.inputs, rows.targets, rows.index) for rows in (problem.train, problem.test)]
    return Problem(Flat(problem.network), FlatNextToken(), *whole, problem.left_out.rows, part=(
        None if problem.part is None else [f"network.{name}" for name in problem.part]
    ))  # fmt: skip
