"""The loss of language models: the mean cross-entropy of a row's next tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fimo.errors import MethodFailed, UserError
from fimo.models.class_draws import Categorical, SoftmaxSigns
from fimo.models.classification import CrossEntropy
from fimo.models.objective import MOST_COLUMNS, Objective
from fimo.models.token_draws import TokenDraws
from fimo.models.token_labels import have_forms_of_tokens, next_labels, predicted_tokens, root_factors
from fimo.rows import NO_LOSS


def token_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """−log p of the token that each place predicts.

    Args:
        outputs: logits `[row, …, place, word]`.
        targets: labels `[row, …, place]`.

    Returns:
        `[row, …, place]`, in nats; 0 where no token is predicted.
    """
    labels = next_labels(outputs, targets)
    losses = functional.cross_entropy(outputs.flatten(0, -2), labels.flatten(), ignore_index=NO_LOSS, reduction="none")
    return losses.reshape(labels.shape)


def first_sequence(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and labels of each row's own sequence, where rows have several.

    Args:
        outputs: logits `[row, place, word]` or `[row, sequence, place, word]`.
        targets: labels `[row, place]` or `[row, sequence, place]`.
    """
    return (outputs, targets) if targets.dim() == 2 else (outputs[:, 0], targets[:, 0])


class NextToken(Objective):
    """The mean over a row's predicted tokens of −log p, for language models.

        ℓ = −1/T Σ_s log p(x_s | x_1 … x_{s−1}) over the T tokens that carry a loss

    Outputs are logits `[row, place, word]`. Targets are labels `[row, place]`, as the transformers library has them:
    the tokens themselves, or −100 for tokens that carry no loss (of a prompt, of padding). The logits of a place
    predict the label of the next one. Of rows of several sequences, `[row, sequence, place]`, the first one counts: the
    others are answers that it is compared with (see `fimo.models.token_measurements`).

    The exact curvature has a column for each predicted token and each word but one, so that methods take it by
    sampling: one drawn sequence a row, token by token under teacher forcing, whose summed gradient over √T is a root.
    """

    output_axes = None  # any number of axes between `row` and `word`
    positive_hessian = metrics_are_means = has_token_losses = True
    usual_curvature = "sampled"
    predictive, signs = TokenDraws(Categorical()), TokenDraws(SoftmaxSigns())

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of each row's tokens.

        Args:
            outputs: f, logits `[row, …, place, word]`.
            targets: labels `[row, …, place]`.

        Returns:
            ℓ, `[row]`, in nats per token.
        """
        outputs, targets = first_sequence(outputs, targets)
        return token_losses(outputs, targets).sum(-1) / predicted_tokens(targets)

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(softmax(f) − e_x)/T at places that predict one of the row's T tokens x, 0 elsewhere.

        In closed form, since a `vmap` of autograd holds the logits of all words several times. p_x − 1 is minus the sum
        of the others, of which no digits cancel where the model is sure of x.

        Args:
            outputs: f, logits `[row, …, place, word]`.
            targets: labels `[row, …, place]`.

        Returns:
            ∂ℓ/∂f, in the form of the outputs.
        """
        logits, own = first_sequence(outputs, targets)
        labels = next_labels(logits, own)
        gradients, words = torch.softmax(logits, -1), labels.clamp(min=0)[..., None]
        gradients.scatter_(-1, words, 0.0).scatter_(-1, words, -gradients.sum(-1, keepdim=True))
        gradients *= ((labels != NO_LOSS) / predicted_tokens(own).to(gradients.dtype)[:, None])[..., None]
        if targets.dim() == 2:
            return gradients
        return functional.pad(gradients[:, None], (0, 0, 0, 0, 0, outputs.shape[1] - 1))

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of predicted tokens that are the most probable ones, mean over rows.

        Args:
            outputs: f, logits `[row, …, place, word]`.
            targets: labels `[row, …, place]`.

        Returns:
            `token_accuracy`, between 0 and 1.
        """
        outputs, targets = first_sequence(outputs, targets)
        right = (outputs.argmax(-1) == next_labels(outputs, targets)).sum(-1)
        return {"token_accuracy": float((right / predicted_tokens(targets)).to(torch.float64).mean())}

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over a row's tokens of their margins log p − log(1 − p): what TRAK linearises.

        Args:
            outputs: f, logits `[row, …, place, word]`.
            targets: labels `[row, …, place]`.

        Returns:
            `[row, 1]`.
        """
        outputs, targets = first_sequence(outputs, targets)
        labels = next_labels(outputs, targets)
        margins = CrossEntropy().output(outputs, labels.clamp(min=0)).squeeze(-1)
        totals = torch.where(labels == NO_LOSS, 0.0, margins).sum(-1)
        return (totals / predicted_tokens(targets))[:, None]

    def token_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """−log p of each token, given those before it.

        Args:
            outputs: f, logits `[row, …, place, word]`, of fewer places than the labels where padding was cut.
            targets: labels `[row, …, place]`.

        Returns:
            `[row, place]`, in nats; NaN for tokens that carry no loss.
        """
        outputs, targets = first_sequence(outputs, targets)
        losses = torch.full(targets.shape, torch.nan, dtype=outputs.dtype, device=outputs.device)
        predicted = next_labels(outputs, targets)[:, :-1] != NO_LOSS
        behind = token_losses(outputs, targets)[:, :-1]
        losses[:, 1 : 1 + behind.shape[1]] = torch.where(predicted, behind, torch.nan)
        return losses

    def curvature_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """R of the Hessian, which has a block for each place: for a few words and places only.

        Args:
            outputs: f, logits `[row, place, word]`.
            targets: labels `[row, place]`.

        Returns:
            R, `[row, place, word, places of the labels · (words − 1)]`.

        Raises:
            MethodFailed: where these are more columns than anybody means.
        """
        words, places = outputs.shape[-1], targets.shape[-1]
        if places * (words - 1) > MOST_COLUMNS:
            raise MethodFailed(
                f"The exact curvature of a language model has a gradient for each token and word of a row, "
                f"{places * (words - 1):,} here: choose curvature=sampled."
            )
        labels = next_labels(outputs, targets)
        blocks = (
            CrossEntropy()
            .curvature_root(outputs.flatten(0, 1), labels.clamp(min=0).flatten())
            .unflatten(0, labels.shape)
        )
        blocks = blocks * root_factors(outputs, targets)[..., None, None]
        root = blocks.new_zeros(*outputs.shape, places, words - 1)
        for place in range(outputs.shape[1]):
            root[:, place, :, place] = blocks[:, place]
        return root.flatten(-2)

    def require_targets(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse what are no labels of the network's words, and rows without a predicted token.

        Args:
            outputs: f at some rows, logits `[row, …, place, word]`.
            targets: labels of all rows.

        Raises:
            UserError: naming their form.
        """
        if not have_forms_of_tokens(outputs, targets):
            raise UserError(
                f"A language model needs outputs [row, place, word] and labels [row, place] that are token numbers, "
                f"found outputs {list(outputs.shape)} and targets {list(targets.shape)} of {targets.dtype}: choose "
                "model=causal_lm and data of lines (data=text_lines), or another objective."
            )
        words, most = outputs.shape[-1], int(targets.max())
        if most >= words or bool(((targets < 0) & (targets != NO_LOSS)).any()):
            raise UserError(
                f"Labels of a language model must be token numbers from 0 to {words - 1}, as the network has {words} "
                f"words, or {NO_LOSS} for tokens that carry no loss, found {most if most >= words else 'others'}."
            )
        if bool((none := predicted_tokens(targets) == 0).any()):
            raise UserError(
                f"Every row must have a token that is predicted from others, found none in row "
                f"{int(none.nonzero()[0, 0])}: a row of one token, or a prompt without a completion."
            )
