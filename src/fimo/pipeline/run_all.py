"""All stages of a run, one after another."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

from fimo.pipeline import results
from fimo.pipeline.artifacts import REPORT
from fimo.pipeline.attribute import Scores, attribute
from fimo.pipeline.requirements import require_comparison
from fimo.pipeline.run import Run
from fimo.pipeline.seed_files import SeedFiles
from fimo.pipeline.stages import exit_code, further_train, timed, train

logger = logging.getLogger(__name__)


def run_all(run: Run, show_table: bool = True) -> int:
    """All stages, each skipped where its result is there; the table and the results folder are logged last.

    Args:
        run: the run; its log, where it has one, gets the curves while they are measured, and at the end.
        show_table: whether the table goes to the log too.

    Returns:
        The exit code: 0, or 3 where runs diverged or methods failed, and were left out.
    """
    seconds: dict[str, float] = {}
    folder = results.folder_of(run)
    with ExitStack() as stack:
        if results.finished(run, folder) is None:
            require_comparison(run)
        log = stack.enter_context(run.open_log(folder)) if run.open_log else None
        seeds = stack.enter_context(SeedFiles(run))
        with timed(seconds, "train"):
            train(run)
        with timed(seconds, "attribute"):
            done = attribute(run)
        with timed(seconds, "further_train"):
            further_train(run, log and log.lightning, _live(run, log, done.scores, seeds))
        folder, diverged = results.compared(run, done, seeds, seconds)
        if log and log.lightning:
            from fimo.pipeline.figures import figures

            comparison = results.read(folder)
            log.results(comparison, figures(run, comparison)["curves"], _names(run))
            log.page(folder / REPORT)
    code = exit_code(diverged, done.failed)
    logger.info("\n%s\n%s" if show_table else "%.0s%s", results.table(folder), folder)
    return code


def _names(run: Run) -> dict[str, str]:
    """The name of each method by its label: plain words, which a log can be asked for."""
    return {method.label: name for name, method in run.methods.items()}


def _live(run: Run, log: Any, scores: Scores, seeds: SeedFiles) -> list[Any]:
    if log is None or not log.lightning:
        return []
    from fimo.comparison.live import LiveAgreement

    return [LiveAgreement(scores, seeds.finished().values(), names=_names(run))]
