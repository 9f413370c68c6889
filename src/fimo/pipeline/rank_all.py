"""Every method's ranking of all training rows, into a results folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from fimo.pipeline import addresses, artifacts, results
from fimo.pipeline.artifacts import DETECTION, MEAN_SCORES, RANKED, RANKING, RANKING_TABLE, ROW_LOSSES, SELF_INFLUENCE
from fimo.pipeline.attribute import Attribution, rank
from fimo.pipeline.failures import failure_notes
from fimo.pipeline.predicted_classes import class_outputs, predicted_classes, predictions
from fimo.pipeline.run import Run
from fimo.pipeline.stages import exit_code, timed, train
from fimo.ranking import MEAN, SELF, require_top

logger = logging.getLogger(__name__)


def rank_all(run: Run) -> int:
    """Final model and rankings, each found where it is there; the results folder is logged last.

    Args:
        run: its `ranked` says how much is kept.

    Returns:
        The exit code: 0, or 3 where methods failed, and were left out.
    """
    folder, failed = ranked(run)
    results.log_page(run, folder)
    page = folder / artifacts.REPORT
    logger.info("ranking: read it in %s\n%s", page if page.is_file() else folder / RANKING_TABLE, folder)
    return exit_code([], failed)


def ranked(run: Run) -> tuple[Path, dict[str, str]]:
    """The results folder of a ranking, which is made where it isn't there; and what failed."""
    seconds: dict[str, float] = {}
    require_top(run.ranked.top, len(run.dataset.train))
    run.ranked.steps(run.training, run.dataset)  # refuses amounts that there are not
    with timed(seconds, "train"):
        train(run)
    with timed(seconds, "rank"):
        done = rank(run)
    with results.reserved(run, inputs := _inputs(run)) as folder:
        record = results.complete(folder)
        if record is not None and record.get("failed", {}) == done.failed:
            results.log_found("ranking", folder)
        else:
            _write(run, folder, inputs, done, seconds)
    return folder, done.failed


def _inputs(run: Run) -> dict[str, Any]:
    """What determines the results: the rankings of all methods, and the further training that they are of."""
    ranked = {method.label: addresses.ranking_of(run, name) for name, method in run.methods.items()}
    return {
        "layout": addresses.RESULTS_LAYOUT,
        "final": addresses.final_model(run).hash,
        "rankings": {label: ranking.hash for label, ranking in ranked.items()},
        "trainings": {label: run.training.described for label, own in ranked.items() if "training" in own.config},
    }


def _write(run: Run, folder: Path, inputs: dict[str, Any], done: Attribution, seconds: dict[str, float]) -> None:
    from fimo.pipeline.flipped_file import flipped_file
    from fimo.pipeline.record import method_notes, method_records, model_notes, run_record, write_index
    from fimo.pipeline.results_page import ranking_page
    from fimo.pipeline.results_tables import csv, largest_first, named, ranking_rows, value_rows
    from fimo.pipeline.wrong_labels import detection, row_losses
    from fimo.report.ranking import detection_markdown

    data, rankings = run.dataset, done.scores
    stored = {method.label: addresses.ranking_of(run, name) for name, method in run.methods.items()}
    methods = method_records(stored, done.failed, RANKED)
    notes = [*model_notes(run), *failure_notes(done.failed)]
    notes += [note for label, one in methods.items() for note in method_notes(label, one)]
    record = run_record(run, inputs, methods, seconds, failed=done.failed)
    ranking, own = named(ranking_rows(rankings), data), named(value_rows(rankings, SELF), data)
    splits = {"train": run.problem.train, "test": run.problem.test}
    outputs = {split: class_outputs(run.problem.network, rows) for split, rows in splits.items()}
    predicted = {
        "train": predicted_classes(splits["train"], outputs["train"], data.classes),
        "test": predictions(run, splits["test"], outputs["test"]),
    }
    losses = row_losses(run.problem, outputs["train"])
    detected = None if data.flipped is None else detection(rankings, losses, data)
    page, too_large = ranking_page(run, (ranking, own, detected), predicted, record, notes)
    files = {
        RANKING: csv(ranking),
        SELF_INFLUENCE: csv(largest_first(own)),
        MEAN_SCORES: csv(named(value_rows(rankings, MEAN), data)),
        ROW_LOSSES: csv(named(losses, data)),
        RANKING_TABLE: _text(run, rankings, losses, predicted["test"], [*notes, *too_large]).encode(),
        **flipped_file(data),
        **page,
    }
    if detected is not None:
        files[DETECTION] = csv(detected.table)
        files[RANKING_TABLE] += detection_markdown(detected.table).encode()
    artifacts.write_results(folder, files, record)
    write_index(run.results_dir)


def _text(
    run: Run,
    rankings: Mapping[str, xr.Dataset],
    losses: pd.DataFrame,
    predicted: Mapping[int, str],
    notes: Sequence[str],
) -> str:
    """ranking.md, but for what is said of labels that were made wrong."""
    from fimo.pipeline.results_tables import single_rows
    from fimo.report.ranking import ranking_markdown

    return ranking_markdown(
        rankings,
        single_rows(run.dataset),  # whatever the config leaves out
        notes,
        watched=run.watched,
        predicted=predicted,
        losses=losses.set_index("train")["loss"].to_dict(),
    )
