"""Tables of a results folder: scores and effects row by row, with what people call the rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from fimo.data.base import Data
from fimo.effect import centre, gold_standard, without_diverged
from fimo.pipeline.attribute import Scores
from fimo.ranking import ROW, SCORE
from fimo.report.influential import DescribeRow, Examples


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


def ranking_rows(rankings: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """The ends of every ranking, a row for each training row in one; `step` is empty for methods without.

    Args:
        rankings: by label, see `fimo.ranking`.
    """
    tables = []
    for label, ranking in rankings.items():
        table = ranking[[ROW, SCORE]].to_dataframe().reset_index().rename(columns={ROW: "train"}).assign(method=label)
        tables.append(table.dropna(subset=SCORE))
    columns = ["method", "step", "test", "rank", "train", "score"]
    return pd.concat(tables, ignore_index=True).reindex(columns=columns).astype({"step": "Int64"})


def value_rows(rankings: Mapping[str, xr.Dataset], name: str) -> pd.DataFrame:
    """A number for each training row by each method that has it.

    Args:
        rankings: by label, see `fimo.ranking`.
        name: of the number, `self_influence` or `mean`.
    """
    tables = [
        ranking[name].rename("score").to_dataframe().reset_index().assign(method=label)
        for label, ranking in rankings.items()
        if name in ranking
    ]
    columns = ["method", "step", "train", "score"]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True).reindex(columns=columns).astype({"step": "Int64"})


def largest_first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each method and step in the order of their scores; methods and steps stay in theirs."""
    parts = [part for _, part in table.groupby(["method", "step"], sort=False, dropna=False)]
    return pd.concat([part.sort_values("score", ascending=False, kind="stable") for part in parts] or [table])


def named(table: pd.DataFrame, data: Data) -> pd.DataFrame:
    """The same with `test_name`, `left_out_name` and `train_name`, what people call these, where they have names.

    Args:
        table: with some of the columns `test`, `left_out` and `train`.
        data: whose positions these are.
    """
    groups, names = data.left_out.names, data.names
    name_of = {
        "test": names.test and partial(names.of, "test"),
        "left_out": groups.__getitem__ if groups else names.train and partial(names.of, "train"),
        "train": names.train and partial(names.of, "train"),
    }
    for axis, name in name_of.items():
        if name and axis in table:
            table = table.assign(**{f"{axis}_name": table[axis].map({row: name(row) for row in table[axis].unique()})})
    return table


def csv(table: pd.DataFrame) -> bytes:
    """A table as the bytes of a CSV file."""
    return table.to_csv(index=False).encode()


def examples_of(data: Data) -> Examples:
    """The examples as people know them."""
    return Examples(_describe_row(data), data.names.of, data.left_out.names)


def single_rows(data: Data) -> Examples:
    """The same where no groups are left out: a training row is called by itself."""
    return Examples(data.display, data.names.of)


def _describe_row(data: Data) -> DescribeRow:
    """Examples as people read them; a group of training rows by its size and its first row."""
    groups = data.left_out.described(data.train.index)

    def describe_group(split: str, number: int) -> str | np.ndarray:
        if split == "test":
            return data.display(split, number)
        assert groups is not None
        rows = groups[number]["rows"]
        first = data.display("train", rows[0])
        return f"{len(rows)} training rows, the first of them {first}" if isinstance(first, str) else first

    return data.display if groups is None else describe_group
