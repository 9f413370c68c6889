"""Measurements of language models: of a completion given its prompt, and of two answers to one question."""

from __future__ import annotations

from torch import Tensor

from fimo.errors import UserError
from fimo.models.next_token import first_sequence, token_losses
from fimo.models.token_labels import have_forms_of_tokens


def completion(outputs: Tensor, targets: Tensor) -> Tensor:
    """−log p(completion | prompt): the sum over its tokens, where the loss is their mean.

    Args:
        outputs: logits `[row, place, word]`, or of several sequences a row, of which the first counts.
        targets: labels `[row, place]`; tokens of the prompt have −100.

    Returns:
        `[row]`, in nats; of a row without a prompt that of all its tokens but the first.

    Raises:
        UserError: for outputs that are no logits of tokens.
    """
    require_tokens("completion", outputs, targets)
    return token_losses(*first_sequence(outputs, targets)).sum(-1)


def contrast(outputs: Tensor, targets: Tensor) -> Tensor:
    """How much the model is for another answer: log p(another answer | prompt) − log p(answer | prompt).

    Args:
        outputs: logits `[row, 2, place, word]`: of the answer, and of the other one.
        targets: labels `[row, 2, place]`.

    Returns:
        `[row]`, in nats; below 0 where the model takes the answer for the more probable one. As of a loss, a positive
        score says that the training row speaks for the answer: leaving it out raises this.

    Raises:
        UserError: for rows of one sequence.
    """
    require_tokens("contrast", outputs, targets)
    if targets.dim() != 3 or targets.shape[1] != 2:
        raise UserError(
            "The measurement contrast compares two answers to each test row's prompt, found labels "
            f"{list(targets.shape)}: name the field of the other answer by data.source.other, or, from Python, give "
            "test inputs and labels [row, 2, place]."
        )
    of_own, of_other = token_losses(outputs, targets).sum(-1).unbind(1)
    return of_own - of_other


def require_tokens(name: str, outputs: Tensor, targets: Tensor) -> None:
    """Refuse outputs that are no logits of tokens.

    Args:
        name: of the measurement.
        outputs: of the network.
        targets: those of `Rows`.

    Raises:
        UserError: naming their form.
    """
    if not have_forms_of_tokens(outputs, targets):
        raise UserError(
            f"The measurement {name} is that of a language model: it needs outputs [row, place, word] and labels "
            f"[row, place], found {list(outputs.shape)} and {list(targets.shape)}."
        )
