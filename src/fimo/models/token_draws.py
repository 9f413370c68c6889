"""Draws for language models: a whole sequence for each sample, token by token under teacher forcing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fimo.errors import MethodFailed
from fimo.models.classification import CrossEntropy
from fimo.models.predictive import Predictive
from fimo.models.token_labels import next_labels, root_factors
from fimo.row_weights import by_row
from fimo.rows import NO_LOSS

if TYPE_CHECKING:
    from fimo.models.objective import Objective

# The loss at one place.
_PER_TOKEN = CrossEntropy()
# Random numbers of a row, which are held for all rows.
MOST_NUMBERS = 2**16


class TokenDraws(Predictive):
    """What is drawn at each predicted place of a row, given the row's own tokens before it.

    The places' gradients are independent and zero in the mean, so that their sum is a root of the sum of the places'
    curvatures; over √T it is one of the mean over T predicted tokens.

    Args:
        each: draws for one place, as for one row of classes.
    """

    def __init__(self, each: Predictive) -> None:
        self.each = each

    def width(self, objective: Objective, outputs: Tensor, targets: Tensor) -> int:
        """Those of one place for every place, those of padding too.

        Args:
            objective: it doesn't matter.
            outputs: f, logits `[row, place, word]`.
            targets: labels `[row, place]`.

        Raises:
            MethodFailed: for signs of so many words that they fill memory.
        """
        width = targets.shape[-1] * self.each.width(_PER_TOKEN, outputs[:, 0], targets[:, 0])
        if width > MOST_NUMBERS:
            raise MethodFailed(
                f"curvature=sketched draws a sign for each token and word of a row, {width:,} here: choose "
                "curvature=sampled."
            )
        return width

    def draws(self, objective: Objective, outputs: Tensor, targets: Tensor, uniform: Tensor) -> Tensor:
        """What is drawn at each place, zeros where no token is predicted.

        Args:
            objective: it doesn't matter.
            outputs: f, logits `[row, place, word]`, of fewer places than the labels where padding was cut.
            targets: labels `[row, place]`.
            uniform: random numbers above 0 and below 1, `[row, sample, width]`.

        Returns:
            `[row, sample, place, …]`.
        """
        rows, places, _ = outputs.shape
        by_place = uniform.unflatten(-1, (targets.shape[-1], -1))[:, :, :places].transpose(1, 2)
        drawn = self.each.draws(
            _PER_TOKEN, outputs.flatten(0, 1), targets[:, :places].flatten(), by_place.flatten(0, 1)
        )
        drawn = drawn * by_row((next_labels(outputs, targets) != NO_LOSS).flatten(), drawn)
        drawn = drawn.unflatten(0, (rows, places)).transpose(1, 2)
        every = drawn.new_zeros(rows, drawn.shape[1], targets.shape[-1], *drawn.shape[3:])
        every[:, :, :places] = drawn
        return every

    def columns(self, objective: Objective, outputs: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:
        """The gradients at what is drawn, over √T.

        Args:
            objective: it doesn't matter.
            outputs: f, logits `[row, place, word]`.
            targets: labels `[row, place]`.
            drawn: see `draws`.

        Returns:
            `[row, place, word, sample]`.
        """
        places, labels = outputs.shape[1], next_labels(outputs, targets)
        by_place = drawn[:, :, :places].transpose(1, 2).flatten(0, 1)
        columns = self.each.columns(_PER_TOKEN, outputs.flatten(0, 1), labels.clamp(min=0).flatten(), by_place)
        return columns.unflatten(0, labels.shape) * root_factors(outputs, targets)[..., None, None]
