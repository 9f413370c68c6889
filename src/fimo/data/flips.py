"""Training labels that are made wrong on purpose: whoever looks for mislabelled rows can be held against them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fimo.errors import UserError
from fimo.randomness import words_at
from fimo.rows import Rows

logger = logging.getLogger(__name__)

# Streams of random words: which rows are chosen, and which class they get.
ROWS, CLASSES = 0, 1


@dataclass(frozen=True)
class Flips:
    """The training rows whose labels were made wrong.

    Attributes:
        rows: their positions in the entire training split, ascending, `[flipped]`.
        labels: the classes that the data gave them, `[flipped]`.
        flipped_to: the classes that they have now, `[flipped]`.
    """

    rows: Tensor
    labels: Tensor
    flipped_to: Tensor

    def label(self, row: int, classes: tuple[str, ...] | None) -> str | None:
        """What people read as the label of a row, `Good, flipped from Bad`; None for a row that was not flipped.

        Args:
            row: position in the entire training split.
            classes: their names; None where they have none.
        """
        place = int(torch.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            return None
        before, now = (class_name(int(of[place]), classes) for of in (self.labels, self.flipped_to))
        return f"{now}, flipped from {before}"


def class_name(number: int, classes: tuple[str, ...] | None) -> str:
    """What people call a class.

    Args:
        number: of the class.
        classes: names of all; None where they have none.
    """
    return str(number) if classes is None else classes[number]


def flip_labels(kept: Rows, classes: int, share: float, seed: int, task: str | None) -> tuple[Rows, Flips]:
    """Give a share of the training rows another class, uniformly among the others.

    A row's lot and its wrong class are functions of the seed and of its position in the entire split, so a larger share
    flips the same rows and more.

    Args:
        kept: the training rows.
        classes: how many there are.
        share: of the rows that is flipped, between 0 and 1, rounded to at least one row.
        seed: of the choice.
        task: of the data, for errors.

    Returns:
        The rows with the labels that all training and all methods see, and which were flipped.

    Raises:
        UserError: for rows without classes, or with one.
    """
    targets = kept.plain.targets
    if targets.is_floating_point() or targets.dim() != 1:
        raise UserError(
            f"data.flip gives rows another class, so it needs data.task=classification, found {task}: leave it out."
        )
    if classes < 2:
        raise UserError("data.flip gives rows another class, so it needs two classes or more, found one: leave it out.")
    positions = kept.index.numpy()
    count = max(1, round(share * len(positions)))
    places = np.sort(np.argsort(words_at(seed, ROWS, positions), kind="stable")[:count])
    rows, labels = positions[places], targets.numpy()[places]
    steps = 1 + words_at(seed, CLASSES, rows) % np.uint64(classes - 1)
    flipped_to = torch.from_numpy((labels + steps.astype("int64")) % classes)
    flipped = targets.index_put((torch.from_numpy(places),), flipped_to)
    logger.info("data.flip: the labels of %d of %d training rows are made wrong", count, len(positions))
    flips = Flips(torch.from_numpy(rows), torch.from_numpy(labels), flipped_to)
    return replace(kept.plain, targets=flipped).weighted_by(kept.weights), flips
