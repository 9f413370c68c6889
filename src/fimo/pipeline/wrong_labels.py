"""Detectors of wrong labels: what a ranking, the loss and the margin say of every training row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from fimo.comparison.detection import (
    LOSS,
    MARGIN,
    MEAN_HARM,
    NOBODY,
    RANDOM_ORDER,
    SELF_INFLUENCE,
    THE_ROW,
    Detection,
    orders_rows,
)
from fimo.data.base import Data
from fimo.effect import last_step
from fimo.errors import UserError
from fimo.models.evaluation import losses_at
from fimo.models.measurements import margin
from fimo.models.weighted import for_rows
from fimo.problem import Problem
from fimo.ranking import MEAN, SELF


def row_losses(problem: Problem, outputs: Tensor | None) -> pd.DataFrame:
    """The loss of every training row, and its margin where targets are classes: `train`, `loss`, `margin`.

    Args:
        problem: at its final model.
        outputs: of the final model at the training rows, `[row, output]`, float64; None where targets are no classes.

    Returns:
        A row for each training row, in their order.
    """
    rows = problem.train.to("cpu")
    if outputs is None:
        losses = losses_at(problem.network, problem.objective, problem.train)
        return pd.DataFrame({"train": rows.index.numpy(), LOSS: losses.numpy()})
    losses = for_rows(problem.objective, rows).loss(outputs, rows.targets)
    table = {"train": rows.index.numpy(), LOSS: losses.numpy()}
    try:
        margins = margin(outputs, rows.plain.targets)
    except UserError:  # targets that are no classes have none
        return pd.DataFrame(table)
    return pd.DataFrame(table | {MARGIN: margins.numpy()})


def detection(rankings: dict[str, xr.Dataset], losses: pd.DataFrame, data: Data) -> Detection:
    """How well each method finds the labels that were made wrong.

    By its self-influence, and by how much a row harms the test examples in the mean; beside them the row's loss, its
    margin, and a random order. Of several amounts of further training the last is taken.

    Args:
        rankings: by label, see `fimo.ranking`.
        losses: see `row_losses`.
        data: whose `flipped` rows have wrong labels.

    Returns:
        The detectors. What has no numbers, as a recursion that diverged, or the same for all rows, as the
        self-influence of Grad-Cos, orders nothing and is none.
    """
    assert data.flipped is not None
    suspicion: dict[tuple[str, str], np.ndarray] = {}
    for label, ranking in rankings.items():
        last = last_step(ranking)
        if SELF in last:
            suspicion[label, SELF_INFLUENCE] = last[SELF].values
        suspicion[label, MEAN_HARM] = -last[MEAN].values
    suspicion[THE_ROW, LOSS] = losses[LOSS].to_numpy()
    if MARGIN in losses:
        suspicion[THE_ROW, MARGIN] = -losses[MARGIN].to_numpy()
    suspicion[NOBODY, RANDOM_ORDER] = np.random.default_rng(0).permutation(len(losses))
    known = {key: values for key, values in suspicion.items() if orders_rows(values)}
    return Detection(losses["train"].to_numpy(), torch.isin(data.train.index, data.flipped).numpy(), known)
