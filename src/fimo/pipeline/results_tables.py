"""Tables of a results folder: scores and effects row by row, with what people call the rows."""

from __future__ import annotations

from functools import partial

import pandas as pd
import xarray as xr

from fimo.data.base import Data
from fimo.effect import centre, gold_standard, without_diverged
from fimo.pipeline.stages import Scores


def score_rows(scores: Scores) -> pd.DataFrame:
    """A row for each score; `step` is empty for methods that don't depend on it."""
    tables = []
    for label, score in scores.items():
        table = score.to_dataframe("score").reset_index().assign(method=label)
        tables.append(table.reindex(columns=["method", "step", "test", "left_out", "score"]))
    return pd.concat(tables, ignore_index=True).astype({"step": "Int64"})


def effect_rows(seeds: list[xr.Dataset]) -> pd.DataFrame:
    """The gold standard after the first and the last evaluated step, a row for each effect, mean over seeds."""
    seeds, tables = without_diverged(seeds), []
    for place in (0, -1):
        full = gold_standard(seeds, place, "full")
        tables.append(xr.Dataset({"effect": full, "centred": centre(full)}).to_dataframe().reset_index())
    both = pd.concat(tables, ignore_index=True)
    columns = ["step", "epoch", "test", "left_out", "effect", "centred"]
    return both[columns].drop_duplicates(columns[:4])


def named(table: pd.DataFrame, data: Data) -> pd.DataFrame:
    """The same with `test_name` and `left_out_name`, what people call rows and groups, where they have names.

    Args:
        table: with the columns `test` and `left_out`.
        data: whose positions these are.
    """
    groups, names = data.left_out.names, data.names
    name_of = {
        "test": names.test and partial(names.of, "test"),
        "left_out": groups.__getitem__ if groups else names.train and partial(names.of, "train"),
    }
    for axis, name in name_of.items():
        if name:
            table = table.assign(**{f"{axis}_name": table[axis].map({row: name(row) for row in table[axis].unique()})})
    return table


def csv(table: pd.DataFrame) -> bytes:
    """A table as the bytes of a CSV file."""
    return table.to_csv(index=False).encode()
