"""Detectors of wrong labels: what a ranking, the loss and the margin say of every training row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import xarray as xr

from fimo.comparison.detection import detection_table
from fimo.data.base import Data
from fimo.effect import last_step
from fimo.errors import UserError
from fimo.models.evaluation import outputs_at
from fimo.models.measurements import margin
from fimo.models.weighted import for_rows
from fimo.problem import Problem
from fimo.ranking import MEAN, SELF

# What a row's own numbers are called where a method's label stands otherwise.
LOSS, MARGIN, RANDOM_ORDER = "loss", "margin", "random order"


def row_losses(problem: Problem) -> pd.DataFrame:
    """The loss of every training row, and its margin where targets are classes: `train`, `loss`, `margin`.

    Args:
        problem: at its final model.

    Returns:
        A row for each training row, in their order.
    """
    rows = problem.train.to("cpu")
    outputs = outputs_at(problem.network, problem.train)
    targets = rows.targets.double() if rows.targets.is_floating_point() else rows.targets
    table = {"train": rows.index.numpy(), LOSS: for_rows(problem.objective, rows).loss(outputs, targets).numpy()}
    try:
        margins = margin(outputs, rows.plain.targets)
    except UserError:  # targets that are no classes have none
        return pd.DataFrame(table)
    return pd.DataFrame(table | {MARGIN: margins.numpy()})


def detection(rankings: dict[str, xr.Dataset], losses: pd.DataFrame, data: Data) -> pd.DataFrame:
    """How well each method finds the labels that were made wrong.

    By its self-influence, and by how much a row harms the test examples in the mean; beside them the row's loss, its
    margin, and a random order. Of several amounts of further training the last is taken.

    Args:
        rankings: by label, see `fimo.ranking`.
        losses: see `row_losses`.
        data: whose `flipped` rows have wrong labels.

    Returns:
        See `fimo.comparison.detection.detection_table`; what has no numbers, as a recursion that diverged, detects
        nothing and has no row.
    """
    assert data.flipped is not None
    suspicion: dict[tuple[str, str], np.ndarray] = {}
    for label, ranking in rankings.items():
        last = last_step(ranking)
        if SELF in last:
            suspicion[label, "self-influence"] = last[SELF].values
        suspicion[label, "mean harm"] = -last[MEAN].values
    suspicion["the row itself", LOSS] = losses[LOSS].to_numpy()
    if MARGIN in losses:
        suspicion["the row itself", MARGIN] = -losses[MARGIN].to_numpy()
    suspicion["–", RANDOM_ORDER] = np.random.default_rng(0).permutation(len(losses))
    known = {key: values for key, values in suspicion.items() if np.isfinite(values).any()}
    return detection_table(known, torch.isin(data.train.index, data.flipped).numpy())
