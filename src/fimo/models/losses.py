"""The losses that there are, by name, and those of each task."""

from __future__ import annotations

from fimo.models.classification import BinaryCrossEntropy, CrossEntropy
from fimo.models.next_token import NextToken
from fimo.models.objective import Objective
from fimo.models.regression import AbsoluteError, Huber, SquaredError

__all__ = ["OBJECTIVES", "AbsoluteError", "BinaryCrossEntropy", "CrossEntropy", "Huber", "NextToken", "SquaredError"]

OBJECTIVES: dict[str, Objective] = {
    "regression": SquaredError(),
    "classification": CrossEntropy(),
    "multilabel": BinaryCrossEntropy(),
    "language": NextToken(),
}
