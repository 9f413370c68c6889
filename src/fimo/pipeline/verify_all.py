"""Further training without the rows that rankings name, and what it says of them, into a results folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from fimo.comparison.removal import Verification, named_groups, removals, verification, without_scores
from fimo.effect import last_step
from fimo.errors import UserError, some_of
from fimo.groups import Groups
from fimo.pipeline import addresses, artifacts, results
from fimo.pipeline.attribute import Attribution, attribute
from fimo.pipeline.derived import with_examples
from fimo.pipeline.failures import failure_notes, require_scores
from fimo.pipeline.files import folder_name
from fimo.pipeline.ranking_files import ranking_digest, stored_ranking
from fimo.pipeline.run import Run
from fimo.pipeline.seed_files import SeedFiles
from fimo.pipeline.stages import diverged_runs, exit_code, further_train, timed, train

logger = logging.getLogger(__name__)


def verify_all(run: Run) -> int:
    """Final model, scores of all rows, further training without the groups; the results folder is logged last.

    Args:
        run: its `removed` says which rows leave, and for which test examples.

    Returns:
        The exit code: 0, or 3 where runs diverged or methods failed, and were left out.
    """
    folder, diverged, failed = verified(run)
    results.log_page(run, folder)
    logger.info("\n%s\n%s", (folder / artifacts.REMOVAL_TABLE).read_text(), folder)
    return exit_code(diverged, failed)


def verified(run: Run) -> tuple[Path, list[str], dict[str, str]]:
    """The results folder of a verification, which is made where it isn't there; what diverged, and what failed."""
    seconds: dict[str, float] = {}
    n, chosen = len(run.dataset.train), run.removed
    sizes = chosen.sizes(n)
    if run.dataset.mistakes is None:  # which examples these are, only the final model knows
        chosen.positions(run.examples["test"])
    with timed(seconds, "train"):
        train(run)
    tests = chosen.positions(run.examples["test"])
    every_row = with_examples(run, Groups.of("all", n), tests)
    with timed(seconds, "attribute"):
        done = _scores(every_row, max(sizes.values()))
    scores = {label: last_step(score) for label, score in done.scores.items()}
    done.failed.update(without_scores(scores, min(sizes.values())))
    scores = {label: score for label, score in scores.items() if label not in done.failed}
    require_scores(scores, done.failed)
    removed = removals(scores, sizes, chosen.random, chosen.seed, chosen.end)
    grouped = with_examples(run, Groups.of(named_groups(removed), n), tests)
    with timed(seconds, "further_train"):
        further_train(grouped)
    with SeedFiles(grouped) as files, results.reserved(run, inputs := _inputs(every_row, grouped)) as folder:
        record = results.finished(run, folder)
        if record is not None and record.get("failed", {}) == done.failed:
            results.log_found("verification", folder)
            diverged = record["diverged"]
        else:
            losses = _losses(grouped, files)
            diverged = diverged_runs(losses, "removal {}".format)
            with timed(seconds, "compare"):
                tables = verification(scores, removed, list(losses.values()), chosen.end)
            _write(grouped, every_row, folder, inputs, (done, tables, diverged), list(losses), seconds)
    return folder, diverged, done.failed


def _scores(run: Run, most: int) -> Attribution:
    """Scores of all rows by the methods, or those that a stored ranking keeps, of which a group needs so many."""
    path = run.removed.ranking
    return attribute(run) if path is None else Attribution(stored_ranking(run, Path(path), run.problem, most))


def _losses(run: Run, files: SeedFiles) -> dict[int, xr.Dataset]:
    """The losses of the seeds that are there, where other jobs compute some of them."""
    losses, total = files.finished(), len(run.seeds.all)
    if not losses:
        folder = addresses.further_training(run).folder
        raise UserError(f"{folder} has none of the {total} seeds yet: the other jobs (further.jobs) compute them.")
    if len(losses) < total:
        logger.info("verification: with the %d of %d seeds that are there", len(losses), total)
    return losses


def _inputs(every_row: Run, grouped: Run) -> dict[str, Any]:
    """What determines the results: scores of all rows, and the further training without the groups."""
    scored = {method.label: addresses.scores(every_row, name).hash for name, method in every_row.methods.items()}
    if every_row.removed.ranking is not None:
        scored = {"ranking": ranking_digest(Path(every_row.removed.ranking))}
        scored |= {label: "chosen" for label in every_row.removed.methods or ()}
    seeds = list(grouped.seeds.all)
    further = addresses.further_training(grouped).hash
    return {"layout": addresses.RESULTS_LAYOUT, "removal": scored, "further": further, "seeds": seeds}


def _write(
    run: Run,
    every_row: Run,
    folder: Path,
    inputs: Mapping[str, Any],
    outcome: tuple[Attribution, Verification, list[str]],
    compared: Sequence[int],
    seconds: dict[str, float],
) -> None:
    from fimo.pipeline.figures import gold_in_words
    from fimo.pipeline.record import method_notes, method_records, model_notes, run_record, write_index
    from fimo.pipeline.results_page import removal_page
    from fimo.pipeline.results_tables import csv, examples_of, named
    from fimo.report.figures import figure_files
    from fimo.report.removal import removal_figure, removal_markdown, verdicts

    done, tables, diverged = outcome
    what = run.watched or "loss"
    notes = [*model_notes(run), *failure_notes(done.failed)]
    notes += [f"Runs that diverged are left out: {some_of(diverged, '; ')}."] if diverged else []
    how = gold_in_words(run, len(compared))
    notes.append(f"Measured: {how}, {run.training.epochs} epochs, left out by `{run.training.leave_out}`.")
    stored = {method.label: addresses.scores(every_row, name) for name, method in run.methods.items()}
    methods = method_records(stored if run.removed.ranking is None else {}, done.failed)
    notes += [note for label, one in methods.items() for note in method_notes(label, one)]
    more = {"compared": list(compared), "diverged": diverged, "failed": done.failed}
    record = run_record(run, inputs, methods, seconds, **more)
    removal = named(tables.table, run.dataset)
    examples = examples_of(run.dataset)
    page, too_large = removal_page(run, tables, verdicts(tables, tables.best, examples, what), record, notes)
    figure = removal_figure(tables, f"{folder_name(run.name)}: {how}", what)
    text = removal_markdown(tables, examples, [*notes, *too_large], what)
    files = {
        artifacts.REMOVAL: csv(removal),
        artifacts.AGREEMENT: csv(tables.agreement),
        artifacts.REMOVAL_TABLE: text.encode(),
        **{f"{artifacts.REMOVAL_FIGURE}.{kind}": content for kind, content in figure_files(figure).items()},
        **page,
    }
    artifacts.write_results(folder, files, record)
    write_index(run.results_dir)
