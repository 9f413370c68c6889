"""Rankings that were made before: as tables, and as the results folder that `rank` has written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.removal import HELPFUL
from fimo.errors import UserError
from fimo.pipeline import addresses
from fimo.pipeline.artifacts import RANKING, read_run
from fimo.pipeline.run import Run
from fimo.problem import Problem

COLUMNS = ("test", "train", "score")


def scores_of_ranking(
    table: pd.DataFrame, problem: Problem, most: int, what: str, end: str = HELPFUL
) -> dict[str, xr.DataArray]:
    """Scores of the rows that a ranking keeps, by each of its methods; NaN for the others.

    Args:
        table: `test,train,score`, with `method` and `step` where there are several (of several steps the last is
            taken), and `rank` where it holds both ends of longer rankings.
        problem: whose test examples are wanted, and whose training rows these are.
        most: rows of the largest group that the ranking has to name.
        what: the ranking is, for errors.
        end: of the rankings, from which these rows are.

    Returns:
        `[test, left_out]` of all training rows, by label.

    Raises:
        UserError: where a column is missing, or the ranking has other rows, other test examples or too few rows.
    """
    if missing := [column for column in COLUMNS if column not in table]:
        raise UserError(f"{what} must have the columns {', '.join(COLUMNS)}, found no {missing[0]}.")
    table = table if "method" in table else table.assign(method=what)
    tests, index = problem.test.index.tolist(), pd.Index(problem.train.index.tolist())
    scores = {}
    for label, rows in table.groupby("method", sort=False):
        if "step" in rows and rows["step"].notna().any():
            rows = rows[rows["step"] == rows["step"].max()]
        values = np.full((len(tests), len(index)), np.nan)
        for place, test in enumerate(tests):
            own = rows[rows["test"] == test]
            if own.empty:
                raise UserError(f"{what} must rank rows for test example {test}, found none by {label}.")
            places = index.get_indexer(own["train"])
            if (places < 0).any():
                raise UserError(
                    f"{what} belongs to other training rows: it names row {own['train'].iloc[int(places.argmin())]}, "
                    "which this run does not train on."
                )
            values[place, places] = own["score"]
            if (known := int(np.isfinite(values[place, places[_at_end(own, len(index), most, end)]]).sum())) < most:
                raise UserError(
                    f"{what} must name as many {end} rows as leave together, {most} for the largest of verify.shares, "
                    f"found {known} by {label} for test example {test}: raise rank.top, or lower verify.shares."
                )
        scores[str(label)] = xr.DataArray(values, {"test": tests, "left_out": index.to_numpy()}, ["test", "left_out"])
    return scores


def _at_end(own: pd.DataFrame, rows: int, most: int, end: str) -> np.ndarray:
    """Which lines of a ranking may be among the `most` first from one end: those of the other end are not."""
    if "rank" not in own:
        return np.ones(len(own), dtype=bool)
    return (own["rank"] <= most if end == HELPFUL else own["rank"] > rows - most).to_numpy()


def stored_ranking(run: Run, path: Path, problem: Problem, most: int) -> dict[str, xr.DataArray]:
    """The scores of a ranking on disk.

    Args:
        run: whose final model it has to belong to.
        path: a results folder of `rank`, or a CSV file with the columns of its ranking.csv.
        problem: see `scores_of_ranking`.
        most: see `scores_of_ranking`.

    Raises:
        UserError: where it belongs to another final model, or as `scores_of_ranking`.
    """
    file = path / RANKING if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"verify.ranking must be a results folder of rank or a CSV file, found {path}.")
    record = read_run(file.parent) if file.name == RANKING else None
    model = addresses.final_model(run).hash
    if record and (ranked := record["inputs"].get("final")) != model:
        raise UserError(
            f"{path} ranks the rows of another final model ({ranked}; this run's is {model}): rank this one with the "
            "same options."
        )
    return scores_of_ranking(pd.read_csv(file), problem, most, str(path), run.removed.end)
