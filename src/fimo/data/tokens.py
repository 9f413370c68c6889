"""Tokenisation of sentences: by a pretrained tokenizer, or by a vocabulary built from the training sentences."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fimo import hub
from fimo.data.corpus import Sentences
from fimo.errors import UserError
from fimo.rows import Rows

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
COUNT_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")
# Tokens of a row where a network says of no number of positions.
NO_BOUND = 10**9
PAD, UNKNOWN, FIRST, LAST = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True)
class Tokenisation:
    """A tokenizer, and what a network has to know of it.

    Attributes:
        tokenizer: of the library tokenizers, which truncates.
        pad: number of the padding token.
        size: of the vocabulary, how many rows a network's embeddings need.
    """

    tokenizer: Tokenizer
    pad: int
    size: int

    def _require_room(self, text: str, special: int) -> None:
        """Refuse a length at which special tokens leave no place for a sentence that has tokens."""
        longest = (self.tokenizer.truncation or {}).get("max_length")
        if longest is not None and longest <= special and self.tokenizer.encode(text, add_special_tokens=False).ids:
            raise UserError(
                f"data.max_length must be more than the {special} special tokens of each row, found {longest}: raise "
                "it."
            )

    def rows(self, sentences: Sentences, index: np.ndarray) -> Rows:
        """Sentences as rows: `input_ids` and `attention_mask`, `[row, place]`, int64, padded at their end.

        Pairs have `token_type_ids` too, where the tokenizer tells both sentences apart by them.

        Args:
            sentences: single ones or pairs, with numbers as labels.
            index: `[row]`, each row's position in its split.

        Returns:
            The rows, with their lengths in tokens.

        Raises:
            UserError: naming a sentence of which nothing is left but special tokens.
        """
        second = sentences.second
        texts = sentences.text if second is None else list(zip(sentences.text, second, strict=True))
        encoded = self.tokenizer.encode_batch(texts)
        for row, encoding in enumerate(encoded):
            if len(encoding.ids) == sum(encoding.special_tokens_mask):
                self._require_room(sentences.text[row], len(encoding.ids))
                name = f"position {index[row]}" if sentences.names is None else sentences.names[row]
                raise UserError(
                    f"Every sentence must have a token, found none in {name} ({sentences.text[row][:40]!r}): remove "
                    "this row, or mend its text."
                )
        lengths = torch.tensor([len(encoding.ids) for encoding in encoded])
        inputs = {"input_ids": padded([encoding.ids for encoding in encoded], lengths, self.pad)}
        inputs["attention_mask"] = (torch.arange(inputs["input_ids"].shape[1]) < lengths[:, None]).long()
        if any(any(encoding.type_ids) for encoding in encoded):
            inputs["token_type_ids"] = padded([encoding.type_ids for encoding in encoded], lengths, 0)
        targets = torch.from_numpy(sentences.labels)
        return Rows(
            inputs, targets if targets.is_floating_point() else targets.long(), torch.from_numpy(index), lengths
        )


def padded(numbers: Sequence[Sequence[int]], lengths: torch.Tensor, filling: int) -> torch.Tensor:
    """Rows of numbers as one tensor, filled at their end.

    Args:
        numbers: of each row.
        lengths: how many each row has, `[row]`.
        filling: what stands behind them.

    Returns:
        `[row, place]`.
    """
    result = torch.full((len(numbers), int(lengths.max())), filling)
    for row, ids in enumerate(numbers):
        result[row, : len(ids)] = torch.tensor(ids)
    return result


def fast_tokenizer(name: str) -> tuple[Any, int]:
    """The tokenizer of a folder or of a model on the hub (see `fimo.hub`), and how many tokens its model takes.

    Args:
        name: path of a folder, or a name on the hub.

    Returns:
        The tokenizer of the transformers library, and the number of tokens.

    Raises:
        UserError: where the folder has no tokenizer, or a slow one; `Unavailable` where the hub's can't be had.
    """
    from transformers import AutoTokenizer

    hub.quiet()
    folder = Path(name) if Path(name).is_dir() else hub.find(name)
    if (base := hub.adapter_base(name)) and not _has_tokenizer(folder):
        return fast_tokenizer(base)  # adapters are stored without the tokenizer of their model
    # Without one transformers would make a tokenizer that knows no word.
    if not _has_tokenizer(folder):
        raise UserError(f"{name} has no tokenizer: expected one of the files {', '.join(FILES)}.")
    try:
        loaded = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, TypeError, KeyError) as reason:
        raise UserError(f"{name} has no tokenizer that can be read ({hub.short(reason)}).") from reason
    if not loaded.is_fast:
        raise UserError(f"The tokenizer of {name} must be a fast one (tokenizer.json), found another.")
    return loaded, min(int(loaded.model_max_length), _positions(folder))


def pretrained_tokenisation(name: str, max_length: int) -> Tokenisation:
    """The tokenizer of a folder or of a model on the hub (see `fimo.hub`).

    Args:
        name: path of a folder, or a name on the hub.
        max_length: tokens of a sentence, the special ones among them; longer sentences are cut, at the side that the
            tokenizer says, and to what the network has positions for.

    Returns:
        The tokenisation with the model's own vocabulary.

    Raises:
        UserError: where there is no such tokenizer, see `fast_tokenizer`.
    """
    loaded, longest = fast_tokenizer(name)
    if longest < max_length:
        logger.info("sentences are cut to the %d tokens that %s takes (data.max_length=%d)", longest, name, max_length)
    tokenizer = loaded.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(longest, max_length), direction=loaded.truncation_side)
    # Places of padding are masked, so any token will do where the tokenizer has none for them.
    padding = (number for number in (loaded.pad_token_id, loaded.eos_token_id) if number is not None)
    return Tokenisation(tokenizer, next(padding, 0), len(loaded))


def _has_tokenizer(folder: Path) -> bool:
    return any(path for pattern in FILES for path in folder.glob(pattern))


def _positions(folder: Path) -> int:
    """How many tokens the network beside a tokenizer has positions for, as its config says; no bound where it has none.

    Types call it by several names (GPT-2 `n_positions`), which the library translates. Some types (RoBERTa) count from
    behind the padding token's number.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        return NO_BOUND
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, TypeError, KeyError):  # of a type that the library does not know
        config = SimpleNamespace(**json.loads((folder / "config.json").read_text()))
    behind = getattr(config, "model_type", None) in COUNT_FROM_PADDING
    positions = int(getattr(config, "max_position_embeddings", None) or NO_BOUND)
    return positions - behind * (int(getattr(config, "pad_token_id", None) or 0) + 1)


def build_vocabulary(sentences: Sequence[str], max_length: int) -> Tokenisation:
    """A vocabulary of all words and punctuation marks of the sentences, in lower case, the most frequent first.

    Args:
        sentences: what the words are taken from.
        max_length: tokens of a sentence, the first and the last special one among them; longer sentences are cut.

    Returns:
        The tokenisation with this vocabulary; the special tokens have the numbers 0 to 3.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=2**31, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(sentences, trainer)
    numbers = [(token, tokenizer.token_to_id(token)) for token in (FIRST, LAST)]
    pair = f"{FIRST} $A {LAST} $B:1 {LAST}:1"
    tokenizer.post_processor = processors.TemplateProcessing(f"{FIRST} $A {LAST}", pair, special_tokens=numbers)
    tokenizer.enable_truncation(max_length)
    return Tokenisation(tokenizer, SPECIAL.index(PAD), tokenizer.get_vocab_size())
