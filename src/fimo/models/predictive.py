"""Draws that stand for the exact root of a loss's curvature in the outputs: targets of the model's own, or signs.

A loss that is a negative log-likelihood has as its curvature in the outputs the covariance of its gradient at targets
that the model itself draws. So the gradient at k drawn targets, over √k, is a root of that curvature in the mean over
draws, of k columns in place of as many as the exact root R has. So is Rz/√k with k vectors z of random signs, of any
loss. Signs have less noise where a model is sure of a class: it draws another seldom, and then with a large gradient,
whereas each z knows of all classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fimo.models.objective import Objective


class Predictive:
    """Random signs z, for any loss: columns Rz of its exact root R, which are right in the mean since E[zzᵀ] = I.

    The diagonal of zzᵀ has no noise, other than that of normal numbers, and a root of one column none at all. A
    subclass draws targets, or knows a root that costs less.
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
        root = objective.curvature_root(outputs, targets).flatten(1, -2)
        drawn = drawn[..., : root.shape[-1]]  # fewer columns where padding was cut
        return (root @ drawn.to(outputs.dtype).mT).unflatten(1, outputs.shape[1:])


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
