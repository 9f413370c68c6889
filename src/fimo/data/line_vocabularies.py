"""Vocabularies of lines: that of a pretrained tokenizer, or words or byte pairs of the training lines."""

from __future__ import annotations

import logging
from typing import Any

from fimo.data.line_tokens import LineTokenisation
from fimo.data.lines import Lines
from fimo.data.tokens import fast_tokenizer
from fimo.errors import UserError

logger = logging.getLogger(__name__)

PAD, UNKNOWN, BEGIN, END = "<pad>", "<unk>", "<s>", "</s>"
SPECIAL = (PAD, UNKNOWN, BEGIN, END)


def pretrained_lines(name: str, max_length: int, ends: bool) -> LineTokenisation:
    """The tokenizer of a folder or of a model on the hub, as it is; nothing is cut.

    Args:
        name: path of a folder, or a name on the hub (see `fimo.hub`).
        max_length: tokens of a row, at most those that the model has positions for.
        ends: whether a line ends with the tokenizer's token for that.

    Raises:
        UserError: where the folder has no tokenizer that can be read.
    """
    loaded, longest = fast_tokenizer(name)
    if longest < max_length:
        logger.info("rows have at most the %d tokens that %s takes (data.max_length=%d)", longest, name, max_length)
    tokenizer = loaded.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    padding = (number for number in (loaded.pad_token_id, loaded.eos_token_id) if number is not None)
    end = loaded.eos_token_id if ends else None
    return LineTokenisation(tokenizer, next(padding, 0), len(loaded), end, min(max_length, longest))


def build_line_vocabulary(lines: Lines, max_length: int, words: int | None, ends: bool = True) -> LineTokenisation:
    """A vocabulary of the training lines: their words, or byte pairs.

    Args:
        lines: the training lines.
        max_length: tokens of a row, its first and last special one among them.
        words: None for all words and punctuation marks, in lower case; a number for so many byte pairs.
        ends: whether a line ends with `</s>`.

    Returns:
        The tokenisation; `<pad>`, `<unk>`, `<s>` and `</s>` have the numbers 0 to 3.

    Raises:
        UserError: for fewer byte pairs than there are bytes.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    texts = [*lines.text, *(lines.prompt or ())]
    if words is None:
        tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer: Any = trainers.WordLevelTrainer(vocab_size=2**31, special_tokens=list(SPECIAL), show_progress=False)
    else:
        if words < len(SPECIAL) + 256:
            raise UserError(f"data.vocabulary must be at least {len(SPECIAL) + 256}, the bytes alone, found {words}.")
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=words, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
        )
    tokenizer.train_from_iterator(texts, trainer)
    numbers = [(token, tokenizer.token_to_id(token)) for token in (BEGIN, END)]
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{BEGIN} $A {END}" if ends else f"{BEGIN} $A", special_tokens=numbers
    )
    return LineTokenisation(tokenizer, SPECIAL.index(PAD), tokenizer.get_vocab_size(), None, max_length)
