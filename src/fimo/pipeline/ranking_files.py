"""Rankings that were made before: as tables, and as the results folder that `rank` has written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.removal import HELPFUL
from fimo.errors import UserError, short, some_of
from fimo.further_training.settings import FurtherTraining
from fimo.pipeline import addresses
from fimo.pipeline.artifacts import RANKING, read_run
from fimo.pipeline.files import digest
from fimo.pipeline.record import theta_record
from fimo.pipeline.run import Run
from fimo.problem import Problem

logger = logging.getLogger(__name__)

COLUMNS = ("test", "train", "score")


def scores_of_ranking(
    table: pd.DataFrame, problem: Problem, most: int, what: str, end: str = HELPFUL
) -> dict[str, xr.DataArray]:
    """Scores of the rows that a ranking keeps, by each of its methods; NaN for the others.

    Args:
        table: see `checked`.
        problem: whose test examples are wanted, and whose training rows these are.
        most: rows of the largest group that the ranking has to name.
        what: the ranking is, for errors.
        end: of the rankings, from which these rows are.

    Returns:
        `[test, left_out]` of all training rows, by label.

    Raises:
        UserError: where a row stands twice, or the ranking has other rows, other test examples or too few of the most
            helpful rows.
    """
    tests, index = problem.test.index.tolist(), pd.Index(problem.train.index.tolist())
    scores = {}
    for label, rows in table.groupby("method", sort=False):
        if "step" in rows and rows["step"].notna().any():
            rows = rows[rows["step"] == rows["step"].max()]
        values = []
        for test in tests:
            if (own := rows[rows["test"] == test]).empty:
                raise UserError(f"{what} must rank rows for test example {test}, found none by {label}.")
            values.append(_values(own, index, (most, end), what, f"by {label} for test example {test}"))
        axes = {"test": tests, "left_out": index.to_numpy()}
        scores[str(label)] = xr.DataArray(np.array(values), axes, ["test", "left_out"])
    return scores


def _values(own: pd.DataFrame, index: pd.Index, wanted: tuple[int, str], what: str, whose: str) -> np.ndarray:
    """The scores of one test example, `[left_out]`; NaN where the ranking has none."""
    places = index.get_indexer(own["train"])
    if (places < 0).any():
        raise UserError(
            f"{what} belongs to other training rows: it names row {own['train'].iloc[int(places.argmin())]}, "
            "which this run does not train on."
        )
    if (twice := own["train"].duplicated()).any():
        row = own.loc[twice, "train"].iloc[0]
        raise UserError(f"{what} must have one score for each training row, found two of row {row} {whose}.")
    most, end = wanted
    # The rows at the other end of a ranking are not the next ones of this end.
    first = own
    if "rank" in own:
        first = own[own["rank"] <= most] if end == HELPFUL else own[own["rank"] > len(index) - most]
    if (known := int(np.isfinite(first["score"]).sum())) < most:
        raise UserError(
            f"{what} must name as many {end} rows as leave together, {most} for the largest of verify.shares, found "
            f"{known} {whose}: raise rank.top, or lower verify.shares."
        )
    values = np.full(len(index), np.nan)
    values[places] = own["score"]
    return values


def checked(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """A ranking with the columns that it needs, as numbers, and with `method`.

    Args:
        table: `test,train,score`, with `method` and `step` where there are several (of several steps the last is
            taken), and `rank` where it holds both ends of longer rankings. Without `method` its name is that of the
            file.
        what: the ranking is, for errors.

    Raises:
        UserError: where a column is missing or holds no numbers.
    """
    if missing := [column for column in COLUMNS if column not in table]:
        raise UserError(f"{what} must have the columns {', '.join(COLUMNS)}, found no {missing[0]}.")
    for column in (*COLUMNS, *(column for column in ("rank", "step") if column in table)):
        numbers = pd.to_numeric(table[column], errors="coerce")
        if (wrong := numbers.isna() & table[column].notna()).any():
            raise UserError(f"{column} in {what} must be numbers, found {table.loc[wrong, column].iloc[0]!r}.")
        if column in COLUMNS and not (finite := np.isfinite(numbers)).all():
            place = int(np.flatnonzero(~finite)[0])
            raise UserError(
                f"{column} in {what} must be finite numbers, found {numbers.iloc[place]} in row {place + 1} below the "
                f"header and in {int((~finite).sum())} row{'s' if (~finite).sum() > 1 else ''} in all: leave rows "
                "without a score out of the ranking."
            )
        table = table.assign(**{column: numbers})
    return table if "method" in table else table.assign(method=Path(what).stem)


def require_same_training(
    table: pd.DataFrame, ranked: Mapping[str, str], training: FurtherTraining, problem: Problem, what: str
) -> None:
    """Refuse scores that predict other further training than is measured, of methods that depend on it.

    Args:
        table: see `checked`, with `step` of the methods that know the amount of further training.
        ranked: `FurtherTraining.described` of what the scores are of, by label; missing where nothing is known of it.
        training: what is measured.
        problem: whose training rows make its steps.
        what: the ranking is, for errors.

    Raises:
        UserError: naming both.
    """
    last = training.evaluation_steps(problem)[-1]
    for label, rows in table.groupby("method", sort=False):
        own, measured = [], []
        if (described := ranked.get(str(label))) is not None:
            own, measured = [described], [training.described]
        if "step" in rows and rows["step"].notna().any():
            own, measured = [*own, f"{rows['step'].max():.0f} steps"], [*measured, f"{last} steps"]
        if own != measured:
            raise UserError(
                f"{what} has scores of {label} for other further training ({', '.join(own)}) than is measured "
                f"({', '.join(measured)}): rank the rows with the further training that is measured, or verify only "
                "methods that do not depend on it."
            )


def ranking_file(path: Path) -> Path:
    """Where a ranking's scores lie.

    Args:
        path: a results folder of `rank`, or a CSV file.

    Raises:
        UserError: where neither is there.
    """
    file = path / RANKING if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"verify.ranking must be a results folder of rank or a CSV file, found {path}.")
    return file


def ranking_digest(path: Path) -> str:
    """SHA-256 of a ranking: what it says may change where it lies.

    Args:
        path: see `ranking_file`.

    Raises:
        UserError: see `ranking_file`.
    """
    return str(digest(ranking_file(path)))


def stored_ranking(run: Run, path: Path, problem: Problem, most: int) -> dict[str, xr.DataArray]:
    """The scores of a ranking on disk.

    Args:
        run: whose final model it has to belong to.
        path: a results folder of `rank`, or a CSV file with the columns of its ranking.csv.
        problem: see `scores_of_ranking`.
        most: see `scores_of_ranking`.

    Raises:
        UserError: where it can't be read, belongs to another final model or to another measurement, or as `checked`,
            `require_same_training` and `scores_of_ranking`.
    """
    file = ranking_file(path)
    if record := read_run(file.parent) if file.name == RANKING else None:
        _require_same(run, path, record)
    try:
        table = pd.read_csv(file)
    except (ValueError, OSError) as reason:  # pandas' own are ValueErrors
        raise UserError(f"{path} can't be read as CSV ({short(reason)}).") from reason
    table = _chosen(table, run.removed.methods, str(path))
    table, ranked = checked(table, str(path)), (record or {"inputs": {}})["inputs"].get("trainings", {})
    require_same_training(table, ranked, run.training, problem, str(path))
    return scores_of_ranking(table, problem, most, str(path), run.removed.end)


def _chosen(table: pd.DataFrame, labels: Sequence[str] | None, what: str) -> pd.DataFrame:
    """The rows of the chosen methods; all where none was chosen, or where the ranking names no method."""
    if labels is None or "method" not in table:
        logger.info("verify.ranking: the methods are those of %s", what)
        return table
    known = table["method"].astype(str).unique().tolist()
    if missing := [label for label in labels if label not in known]:
        raise UserError(
            f"{what} has no scores of {missing[0]}, and method= chooses it: the ranking has {some_of(known)}; choose "
            "among these, or leave method= out to verify all."
        )
    return table[table["method"].astype(str).isin(labels)]


def _require_same(run: Run, path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a ranking of another final model, or by what another measurement does."""
    model = addresses.final_model(run).hash
    if (ranked := record["inputs"].get("final")) != model:
        raise UserError(
            f"{path} ranks the rows of another final model, of other data or by another loss ({ranked}; this run's is "
            f"{model}): rank the rows with the options of this run."
        )
    of_ranking, of_run = _theta(record.get("parameters")), _theta(theta_record(run))
    if of_ranking != of_run:
        raise UserError(
            f"{path} ranks rows by their effect through other parameters (θ: {some_of(of_ranking)}), and this "
            f"run's are {some_of(of_run)}: give both the same parameters."
        )
    watched, own = (settings.get("measurement") or {} for settings in (record["config"], run.settings))
    if watched != own:
        ranked, wanted = (setting.get("_target_") or "the loss" for setting in (watched, own))
        raise UserError(
            f"{path} ranks rows by what they do to {ranked}, and this run measures {wanted}: give both the same "
            "measurement."
        )


def _theta(record: Mapping[str, Any] | None) -> list[str]:
    """The names of the parameters that a run takes as θ, which different choices may have in common."""
    return record["names"] if record and record["count"] < record["of"] else ["all"]
