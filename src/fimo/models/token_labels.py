"""Labels of sequences of tokens: what each place predicts, and which tokens carry a loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fimo.rows import NO_LOSS


def next_labels(outputs: Tensor, targets: Tensor) -> Tensor:
    """The token that each place predicts.

    Args:
        outputs: logits `[row, …, place, word]`, of fewer places than the targets where padding was cut.
        targets: labels `[row, …, place]`.

    Returns:
        `[row, …, place]`, the label of the place behind each; `NO_LOSS` at the last place.
    """
    places = outputs.shape[-2]
    return functional.pad(targets, (0, 1), value=NO_LOSS)[..., 1 : places + 1]


def predicted_tokens(targets: Tensor) -> Tensor:
    """How many tokens of a sequence carry a loss, `[row, …]`; the first one never does.

    Args:
        targets: labels `[row, …, place]`.
    """
    return (targets[..., 1:] != NO_LOSS).sum(-1)


def root_factors(outputs: Tensor, targets: Tensor) -> Tensor:
    """1/√T at places that predict one of a row's T tokens, and 0 elsewhere.

    A root of the curvature of one place's loss, times this, is one of the mean over T.

    Args:
        outputs: logits `[row, place, word]`.
        targets: labels `[row, place]`.

    Returns:
        `[row, place]`, in the dtype of the outputs.
    """
    factors = predicted_tokens(targets).to(outputs.dtype).rsqrt()[:, None]
    return factors * (next_labels(outputs, targets) != NO_LOSS)


def have_forms_of_tokens(outputs: Tensor, targets: Tensor) -> bool:
    """Whether outputs are logits `[row, …, place, word]` and targets labels `[row, …, place]`, by their shapes.

    Args:
        outputs: of a network.
        targets: those of `Rows`.
    """
    return outputs.dim() > 2 and not targets.is_floating_point() and targets.dim() == outputs.dim() - 1
