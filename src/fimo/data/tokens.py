"""Sentences as numbers: a pretrained tokenizer, or words of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from fimo import hub
from fimo.errors import UserError
from fimo.rows import Rows

FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
PAD, UNKNOWN, FIRST, LAST = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True)
class Tokenisation:
    """A tokenizer and what is told of it.

    Attributes:
        tokenizer: of the library tokenizers, which truncates.
        pad: number of the token that fills up.
        size: how many numbers a network's embeddings need.
    """

    tokenizer: Tokenizer
    pad: int
    size: int

    def rows(self, sentences: Sequence[str], targets: np.ndarray, index: np.ndarray) -> Rows:
        """Sentences as rows: `input_ids` and `attention_mask`, `[row, place]`, padded at their end."""
        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch(list(sentences))]
        lengths = torch.tensor([len(ids) for ids in encoded])
        tokens = torch.full((len(encoded), int(lengths.max())), self.pad)
        for row, ids in enumerate(encoded):
            tokens[row, : len(ids)] = torch.tensor(ids)
        mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
        inputs = {"input_ids": tokens, "attention_mask": mask}
        return Rows(inputs, torch.from_numpy(targets).long(), torch.from_numpy(index), lengths)


def pretrained_words(name: str, max_length: int) -> Tokenisation:
    """The tokenizer of a folder or of a model on the hub (see `fimo.hub`).

    Raises:
        UserError: where there is none, or it can't pad.
    """
    hub.quiet()
    folder = Path(name) if Path(name).is_dir() else hub.find(name)
    # Without one transformers would make a tokenizer that knows no word.
    if not any(path for pattern in FILES for path in folder.glob(pattern)):
        raise UserError(f"{name} has no tokenizer: expected one of the files {', '.join(FILES)}.")
    try:
        found = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, TypeError, KeyError) as reason:
        raise UserError(f"{name} has no tokenizer that can be read ({hub.short(reason)}).") from reason
    if not found.is_fast or found.pad_token_id is None:
        raise UserError(f"The tokenizer of {name} must be a fast one with a padding token, found another.")
    tokenizer = found.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return Tokenisation(tokenizer, found.pad_token_id, len(found))


def build_vocabulary(sentences: Sequence[str], max_length: int) -> Tokenisation:
    """All words and punctuation marks of the sentences, in lower case, the most frequent first."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=2**31, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(sentences, trainer)
    numbers = [(token, tokenizer.token_to_id(token)) for token in (FIRST, LAST)]
    tokenizer.post_processor = processors.TemplateProcessing(f"{FIRST} $A {LAST}", special_tokens=numbers)
    tokenizer.enable_truncation(max_length)
    return Tokenisation(tokenizer, SPECIAL.index(PAD), tokenizer.get_vocab_size())
