"""report.html of a run: what the page is given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr

from fimo.comparison.detection import Detection
from fimo.comparison.removal import Verification
from fimo.comparison.tables import Comparison
from fimo.data.base import Data
from fimo.data.flips import class_name
from fimo.descriptions import Description, Group
from fimo.effect import gold_standard, without_diverged
from fimo.errors import UserError
from fimo.pipeline import artifacts
from fimo.pipeline.figures import AMOUNT_LABELS, gold_in_words, seeds_of
from fimo.pipeline.predicted_classes import class_outputs, predictions
from fimo.pipeline.results_tables import examples_of, single_rows
from fimo.pipeline.run import Run
from fimo.report.page.page import RANK, RUN, VERIFY, Page
from fimo.report.page.payload import choose_steps

logger = logging.getLogger(__name__)
# Rows of a group that are shown.
MEMBERS = 3


def report_page(
    run: Run,
    comparison: Comparison,
    claims: pd.DataFrame,
    scores: Mapping[str, xr.DataArray],
    seeds: Sequence[xr.Dataset],
    record: Mapping[str, Any],
    notes: Sequence[str],
) -> tuple[dict[str, bytes], list[str]]:
    """The page as a file, or why there is none; the other results don't depend on it.

    Args:
        run: the run.
        comparison: its tables.
        claims: with verdicts.
        scores: by label.
        seeds: the losses of each seed.
        record: what `run.json` says.
        notes: what stands under the table.

    Returns:
        The file by its name, and notes of the page's own.
    """
    seeds = without_diverged(seeds)
    places = choose_steps(seeds[0]["epoch"].values, scores)
    effects = xr.concat([gold_standard(seeds, int(place), "full") for place in places], "step", coords=["epoch"])
    page = Page(
        kind=RUN,
        subtitle=subtitle(run, seeds_of(comparison)),
        curves=comparison.curves,
        ceiling=comparison.reliability,
        scores=scores,
        effects=effects,
        losses=seeds[0]["loss_before"].load(),
        claims=claims,
        several="rows" if run.dataset.left_out.names is None else "groups",
        **_every_page(run, record, notes),
    )
    return _file(page)


def ranking_page(
    run: Run,
    tables: tuple[pd.DataFrame, pd.DataFrame, Detection | None],
    predicted: Mapping[str, Mapping[int, str]],
    record: Mapping[str, Any],
    notes: Sequence[str],
) -> tuple[dict[str, bytes], list[str]]:
    """The page of a ranking of all training rows, as `report_page` has it.

    Args:
        run: the run.
        tables: the columns of ranking.csv and of self_influence.csv, and what finds labels that were made wrong.
        predicted: what the final model says of examples, by split and position.
        record: see `report_page`.
        notes: see `report_page`.

    Returns:
        See `report_page`.
    """
    tests = len(run.examples["test"])
    counts = f"{len(run.dataset.train):,} training rows ranked for {tests} test example{'s' if tests > 1 else ''}"
    # Rankings are of single rows, whatever is left out of further training.
    as_rows: dict[str, Any] = {"describe": run.dataset.description, "label": single_rows(run.dataset).label}
    as_rows |= {"flipped": right_labels(run.dataset), "predicted": predicted}
    ranking, self_influence, detection = tables
    per_epoch = run.training.steps_per_epoch(run.problem)
    page = Page(
        kind=RANK,
        subtitle=f"{counts}; data {run.data_name}, size {run.size}",
        ranking=ranking,
        self_influence=self_influence,
        detection=detection,
        epochs={int(step): int(step) / per_epoch for step in ranking["step"].dropna().unique()},
        **_every_page(run, record, notes, as_rows),
    )
    return _file(page)


def removal_page(
    run: Run, tables: Verification, verdicts: Mapping[int, str], record: Mapping[str, Any], notes: Sequence[str]
) -> tuple[dict[str, bytes], list[str]]:
    """The page of a verification, as `report_page` has it.

    Args:
        run: the run.
        tables: predicted and measured.
        verdicts: a sentence by the position of a test example.
        record: see `report_page`.
        notes: see `report_page`.

    Returns:
        See `report_page`.
    """
    how, examples = gold_in_words(run, len(record["compared"])), tables.table["test"].nunique()
    tests = f"{examples} test example{'s' if examples > 1 else ''}"
    without = f"without the rows that rankings hold most {tables.end}"
    page = Page(
        kind=VERIFY,
        subtitle=f"{how}, {without}; {tests}; data {run.data_name}, size {run.size}",
        removal=tables.table,
        agreement=tables.agreement,
        verdicts=verdicts,
        **_every_page(run, record, notes),
    )
    return _file(page)


def _every_page(
    run: Run, record: Mapping[str, Any], notes: Sequence[str], as_rows: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What all pages are given; training rows as they are left out, where `as_rows` does not say otherwise."""
    if as_rows is None:
        outputs = class_outputs(run.problem.network, run.problem.test)
        as_rows = {
            "describe": describe(run.dataset),
            "label": examples_of(run.dataset).label,
            "predicted": {"test": predictions(run, run.problem.test, outputs)},
            "flipped": right_labels(run.dataset) if run.dataset.left_out.names is None else {},
        }
    return {
        "title": run.name,
        "record": record,
        "notes": notes,
        "watched": run.watched,
        "amount": AMOUNT_LABELS[run.gold],
        **as_rows,
    }


def _file(page: Page) -> tuple[dict[str, bytes], list[str]]:
    try:
        return {artifacts.REPORT: page.html()}, []
    except UserError as reason:
        logger.warning("%s", reason)
        return {}, [str(reason)]


def right_labels(data: Data) -> dict[int, str]:
    """The labels that rows had before they were flipped, by position in the entire training split.

    Args:
        data: of the run.
    """
    if data.flips is None:
        return {}
    labels = zip(data.flips.rows.tolist(), data.flips.labels.tolist(), strict=True)
    return {row: class_name(number, data.classes) for row, number in labels}


def subtitle(run: Run, seeds: int) -> str:
    """What was run in a line: `further training with SGD, 3 seeds; 50 test examples, 60 rows left out (diabetes)`.

    Args:
        run: the run.
        seeds: that are compared.
    """
    what = "rows" if run.dataset.left_out.names is None else "groups"
    counts = f"{len(run.examples['test'])} test examples, {len(run.dataset.left_out)} {what} left out"
    return f"{gold_in_words(run, seeds)}; {counts}; data {run.data_name}, size {run.size}"


def describe(data: Data) -> Callable[[str, int], Description]:
    """Examples as people want to see them; what was left out as groups by its first rows.

    Args:
        data: whose rows they are.
    """
    groups, row_label = data.left_out.described(data.train.index), single_rows(data).label

    def of(split: str, number: int) -> Description:
        if split == "test" or groups is None:
            return data.description(split, number)
        rows = groups[number]["rows"]
        return Group(len(rows), [(row_label("train", row), data.description("train", row)) for row in rows[:MEMBERS]])

    return of
