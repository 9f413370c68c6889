"""Rows of a table that occur more than once, which a leave-one-out effect and a test example can't tell apart."""

from __future__ import annotations

import logging

import numpy as np

from fimo.data.tables import Table

logger = logging.getLogger(__name__)


def log_duplicates(table: Table, train: np.ndarray, test: np.ndarray) -> None:
    """Log how many rows have the inputs and targets of another one, where there are any.

    Args:
        table: all rows.
        train: numbers of the training rows.
        test: numbers of the test rows.
    """
    import pandas as pd

    columns = {**dict(table.inputs.items()), **{f"target {name}": of for name, of in table.targets_by_name.items()}}
    codes = pd.util.hash_pandas_object(pd.DataFrame(columns).reset_index(drop=True), index=False).to_numpy()
    twice = len(train) - len(np.unique(codes[train]))
    shared = int(np.isin(codes[test], codes[train]).sum())
    if twice:
        logger.info(
            "data: %d of %d training rows repeat an earlier one: leaving one of them out leaves its copies in", twice,
            len(train),
        )  # fmt: skip
    if shared:
        logger.info("data: %d of %d test rows are equal to a training row, inputs and targets", shared, len(test))
