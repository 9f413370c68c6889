"""Scores of a method beside those of a function of pairs of examples."""

from dataclasses import replace

import numpy as np

import fimo
from fimo.groups import Groups


def scores(question, method):
    (values,) = fimo.attribute(question, [method]).values()
    return values.values


def table(question, score):
    """Scores of single rows, pair by pair."""
    return np.array(
        [[score(j, i) for i in question.left_out.rows.tolist()] for j in range(len(question.test))], dtype=float
    )


def with_left_out(question, left_out):
    return replace(question, left_out=Groups.of(left_out, len(question.train)))
