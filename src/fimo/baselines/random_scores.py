"""Random scores: what a method has to be better than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fimo.errors import UserError
from fimo.problem import Problem
from fimo.randomness import words_at

SEEDS = 2**64  # that streams of random words have


@dataclass(frozen=True)
class RandomScores:
    """Numbers between −1 and 1, independent of each other and of everything else.

    Each is a function of the seed and of the positions of both examples in their entire splits: the word at the
    training example's place in the stream of the test example (see `fimo.randomness.words_at`). So a pair of examples
    has the same score whatever else is left out or evaluated.

    Attributes:
        label: the method's name in legends and files.
        seed: of the scores.

    Raises:
        UserError: for a seed that is no whole number of at least 0.
    """

    version: ClassVar[int] = 1

    label: str = "Random"
    seed: int = 0

    def __post_init__(self) -> None:
        if type(self.seed) is not int or not 0 <= self.seed < SEEDS:
            raise UserError(f"method.random.seed must be a whole number from 0 to 2^64 − 1, found {self.seed!r}.")

    def scores(self, problem: Problem) -> Tensor:
        """The scores of all left-out examples for all test examples.

        Args:
            problem: of which only positions of rows matter.

        Returns:
            `[test, left_out]`, float64; of a group the sum over its rows.
        """
        rows = problem.train.index[problem.left_out.rows].numpy()
        words = np.stack([words_at(self.seed, test, rows) for test in problem.test.index.tolist()])
        values = (words >> np.uint64(11)) * 2.0**-52 - 1  # the upper 53 bits, which float64 holds
        return problem.left_out.summed(torch.from_numpy(values))
