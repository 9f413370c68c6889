"""Embeddings of a network, so that each row has its own gradient, one by one and under `vmap`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fimo.errors import UserError


def prepare_embeddings(network: nn.Module) -> None:
    """Let embeddings have dense gradients, and none for padding, as torch trains them; in place, once or again.

    Args:
        network: with any modules.

    Raises:
        UserError: for an embedding whose gradient depends on how often a batch has a word.
    """
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            continue
        if module.scale_grad_by_freq:
            raise UserError(
                f"The embedding {name or type(module).__name__} scales gradients by how often a word is in the batch "
                "(scale_grad_by_freq=True), so that rows have no gradients of their own: make it without, and train "
                "the final model like that."
            )
        module.sparse = False  # of gradients alone: the numbers are the same
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            if _without_padding not in module._forward_hooks.values():
                module.register_forward_hook(_without_padding, with_kwargs=True)


def _without_padding(
    module: nn.Embedding, arguments: tuple[Tensor, ...], keywords: Mapping[str, Any], embedded: Tensor
) -> Tensor:
    """The embedding of a padding row without a gradient, as torch trains it.

    torch 2.13 honours `padding_idx` for the first entry of a `vmap` only: effects were off by a quarter and more.
    """
    assert module.padding_idx is not None  # see `prepare_embeddings`
    words = next(iter((*arguments, *keywords.values())))
    return torch.where(torch.eq(words, module.padding_idx)[..., None], embedded.detach(), embedded)
