"""What a model expects targets to be: draws from its predictive distribution, and the curvature that they have.

A loss that is a negative log-likelihood has as its curvature in the outputs the covariance of its gradient at targets
that the model itself draws. So the gradient at k drawn targets, over √k, is a root of that curvature in the mean over
draws, of k columns in place of as many as the exact root has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from fimo.models.classification import CrossEntropy
    from fimo.models.objective import Objective


class Predictive:
    """Random signs, for any loss: columns Rz of its exact root R, which are right in the mean since E[zzᵀ] = I.

    The diagonal of zzᵀ has no noise, other than that of normal numbers, and a root of one column none at all. A loss
    that is a negative log-likelihood has a subclass that needs no exact root.
    """

    def width(self, objective: Objective, outputs: Tensor, targets: Tensor) -> int:
        """Random numbers for one draw at one row.

        Args:
            objective: the loss.
            outputs: f at some rows, `[row, output]`.
            targets: `[row, …]`.
        """
        return objective.curvature_root(outputs[:1], targets[:1]).shape[-1]

    def draws(self, objective: Objective, outputs: Tensor, targets: Tensor, uniform: Tensor) -> Tensor:
        """What is drawn for each row: signs z, or a subclass's targets.

        Args:
            objective: the loss.
            outputs: f, `[row, output]`.
            targets: of the training set, `[row, …]`.
            uniform: random numbers above 0 and below 1, `[row, sample, width]`.

        Returns:
            `[row, sample, …]`.
        """
        return torch.where(uniform < 0.5, -1.0, 1.0)

    def columns(self, objective: Objective, outputs: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:
        """Columns r of the outputs' space whose mean of rrᵀ over draws is the curvature: the gradient at what is drawn.

        Args:
            objective: the loss.
            outputs: f, `[row, output]`.
            targets: of the training set, `[row, …]`.
            drawn: see `draws`, `[row, sample, …]`.

        Returns:
            `[row, output, sample]`.
        """
        return objective.curvature_root(outputs, targets) @ drawn.to(outputs.dtype).mT


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
        if objective.weight is None:
            return gradients
        weight, share = objective.weight.to(outputs), objective.label_smoothing
        return ((1 - share) * weight[targets] + share * weight.mean()).sqrt()[:, None, None] * gradients


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


class Gaussian(Predictive):
    """y = f + √(C/2) z for each of C outputs, z standard normal, for the squared error: the gradient is −√(2/C) z.

    The mean over outputs of (f − y)² is the negative log-likelihood of the variance C/2. Drawn is z, and not y: f
    would have to be subtracted from it again.
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
        """Standard normal numbers z.

        Args:
            objective: the loss.
            outputs: f, `[row, output]`.
            targets: they don't matter.
            uniform: see `Predictive.draws`.

        Returns:
            `[row, sample, output]`.
        """
        return torch.special.ndtri(uniform)

    def columns(self, objective: Objective, outputs: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:
        """−√(2/C) z.

        Args:
            objective: the loss.
            outputs: f, `[row, output]`.
            targets: they don't matter.
            drawn: z, `[row, sample, output]`.

        Returns:
            `[row, output, sample]`.
        """
        return -((2 / outputs.shape[-1]) ** 0.5) * drawn.to(outputs.dtype).mT
