"""Draws for losses of classes and labels, see `fimo.models.predictive`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from fimo.models.predictive import Predictive

if TYPE_CHECKING:
    from fimo.models.classification import CrossEntropy
    from fimo.models.objective import Objective


class SoftmaxSigns(Predictive):
    """Random signs for cross-entropies: Rz with Cholesky's root R of s (diag(p) − ppᵀ), which is never written out.

    With the tails q_c = Σ_{b>c} p_b it is R_cc = √(s p_c q_c/(p_c + q_c)) and R_ac = −p_a √(s p_c/(q_c (p_c + q_c)))
    for a > c, so that Rz takes one sum over classes.
    """

    def width(self, objective: Objective, outputs: Tensor, targets: Tensor) -> int:
        """One less than there are classes.

        Args:
            objective: the loss.
            outputs: f, logits `[row, class]`.
            targets: they don't matter.
        """
        return outputs.shape[-1] - 1

    def columns(self, objective: CrossEntropy, outputs: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:  # type: ignore[override]
        """Rz.

        Args:
            objective: the cross-entropy.
            outputs: f, logits `[row, class]`.
            targets: y, class numbers `[row]`.
            drawn: z, `[row, sample, class − 1]`.

        Returns:
            `[row, class, sample]`.
        """
        p, z = torch.softmax(outputs, -1)[:, None], functional.pad(drawn.to(outputs.dtype), (0, 1))
        inclusive = p.flip(-1).cumsum(-1).flip(-1)
        tails = functional.pad(inclusive[..., 1:], (0, 1))
        both = tails * inclusive
        below = torch.where(both > 0, (p / torch.where(both > 0, both, 1.0)).sqrt(), 0.0) * z
        earlier = functional.pad(below.cumsum(-1)[..., :-1], (1, 0))
        columns = tails * below - p * earlier  # R_cc is q_c times that root too
        return (columns * curvature_factors(objective, outputs, targets).sqrt()[:, None, None]).mT


class Categorical(Predictive):
    """A class c with probability p_c, for cross-entropies: the gradient is p − e_c.

    Weights of classes and label smoothing multiply the curvature by a number that the row's own target gives.
    """

    def width(self, objective: Objective, outputs: Tensor, targets: Tensor) -> int:
        """One.

        Args:
            objective: the loss.
            outputs: they don't matter.
            targets: they don't matter.
        """
        return 1

    def draws(self, objective: Objective, outputs: Tensor, targets: Tensor, uniform: Tensor) -> Tensor:
        """Class numbers: the first whose cumulative probability is above the random number.

        Args:
            objective: the loss.
            outputs: f, logits `[row, class]`.
            targets: they don't matter.
            uniform: see `Predictive.draws`.

        Returns:
            `[row, sample]`.
        """
        cumulative = torch.softmax(outputs.double(), -1).cumsum(-1)
        classes = torch.searchsorted(cumulative, uniform[..., 0].contiguous(), right=True)
        return classes.clamp(max=outputs.shape[-1] - 1)  # the last sum may be 1 less a rounding

    def columns(self, objective: CrossEntropy, outputs: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:  # type: ignore[override]
        """√s (p − e_c), s = 1 without weights of classes.

        Args:
            objective: the cross-entropy.
            outputs: f, logits `[row, class]`.
            targets: y, class numbers `[row]`.
            drawn: c, `[row, sample]`.

        Returns:
            `[row, class, sample]`.
        """
        chosen = functional.one_hot(drawn, outputs.shape[-1]).to(outputs.dtype).mT
        gradients = torch.softmax(outputs, -1)[..., None] - chosen
        return gradients * curvature_factors(objective, outputs, targets).sqrt()[:, None, None]


def curvature_factors(objective: CrossEntropy, outputs: Tensor, targets: Tensor) -> Tensor:
    """The number s that a row's curvature is of diag(p) − ppᵀ, by the weights of classes and label smoothing, `[row]`.

    Args:
        objective: the cross-entropy.
        outputs: f, logits `[row, class]`.
        targets: y, class numbers `[row]`.
    """
    if objective.weight is None:
        return torch.ones_like(outputs[:, 0])
    weight, share = objective.weight.to(outputs), objective.label_smoothing
    return (1 - share) * weight[targets] + share * weight.mean()


class Bernoulli(Predictive):
    """0 or 1 for each output, for the mean over C outputs of binary cross-entropies: the gradient is (σ(f) − y)/C.

    The loss is 1/C of a negative log-likelihood, so that its curvature is that of gradients √C times as long.
    """

    def width(self, objective: Objective, outputs: Tensor, targets: Tensor) -> int:
        """One for each output.

        Args:
            objective: the loss.
            outputs: f, `[row, output]`.
            targets: they don't matter.
        """
        return outputs.shape[-1]

    def draws(self, objective: Objective, outputs: Tensor, targets: Tensor, uniform: Tensor) -> Tensor:
        """Labels y, 1 with probability σ(f).

        Args:
            objective: the loss.
            outputs: f, logits `[row, output]`.
            targets: they don't matter.
            uniform: see `Predictive.draws`.

        Returns:
            `[row, sample, output]`.
        """
        return (uniform < torch.sigmoid(outputs.double())[:, None]).to(outputs.dtype)

    def columns(self, objective: Objective, outputs: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:
        """(σ(f) − y)/√C.

        Args:
            objective: the loss.
            outputs: f, logits `[row, output]`.
            targets: they don't matter.
            drawn: y, `[row, sample, output]`.

        Returns:
            `[row, output, sample]`.
        """
        return (torch.sigmoid(outputs)[:, None] - drawn).mT / outputs.shape[-1] ** 0.5
