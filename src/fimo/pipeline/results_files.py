"""Stage 4: the comparison, and the files of a results folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.claims import claims
from fimo.comparison.influential import GOLD, rankings
from fimo.comparison.own_claims import own_claims
from fimo.comparison.tables import Comparison, compare
from fimo.data.base import Data
from fimo.errors import some_of
from fimo.pipeline import addresses, artifacts
from fimo.pipeline.attribute import Attribution, Scores
from fimo.pipeline.failures import failure_notes
from fimo.pipeline.figures import figures
from fimo.pipeline.flipped_file import flipped_file
from fimo.pipeline.groups_file import groups_json
from fimo.pipeline.record import method_records, model_notes, run_record, write_index
from fimo.pipeline.results_page import report_page
from fimo.pipeline.results_tables import csv, effect_rows, examples_of, named, score_rows
from fimo.pipeline.run import Run
from fimo.pipeline.stages import check_comparable, diverged_runs, timed
from fimo.pipeline.token_file import token_file
from fimo.report.claims import claims_markdown
from fimo.report.figures import figure_files, to_bytes
from fimo.report.influential import Examples, influential_figure, influential_markdown
from fimo.report.markdown import markdown_table

# Of what is left out: centring is then a large part of the effects.
FEW = 15


def compare_and_write(
    run: Run, folder: Path, done: Attribution, losses: Mapping[int, xr.Dataset], seconds: dict[str, float]
) -> list[str]:
    """Compare scores with the gold standard, and write the results folder.

    Args:
        run: the run.
        folder: its results folder.
        done: scores and failures of its methods.
        losses: of each finished seed.
        seconds: of the stages before, for `run.json`.

    Returns:
        The runs that diverged, which are left out.

    Raises:
        UserError: where there is no seed, or files belong to other examples than are asked for.
    """
    scores, failed = done.scores, done.failed
    check_comparable(run, scores, losses)
    seeds = list(losses.values())
    with timed(seconds, "compare"):
        comparison = compare(scores, seeds)
        papers = claims(scores, seeds, np.random.default_rng(0))
        verdicts = pd.concat([papers, own_claims(scores, seeds, comparison.reliability)], ignore_index=True)
    examples = examples_of(run.dataset)
    diverged = diverged_runs(losses, partial(examples.label, "train"))
    stored = {method.label: addresses.scores(run, name) for name, method in run.methods.items()}
    methods = method_records(stored, failed)
    more = {"compared": list(losses), "diverged": diverged, "failed": failed}
    record = run_record(run, addresses.inputs(run), methods, seconds, **more)
    notes = _notes(run, failed, diverged)
    page, too_large = report_page(run, comparison, verdicts, scores, seeds, record, notes)
    files = {
        artifacts.CURVES: csv(comparison.curves),
        artifacts.SEEDS: csv(comparison.seeds),
        artifacts.RELIABILITY: csv(comparison.reliability),
        artifacts.ALL_SCORES: csv(named(score_rows(scores), run.dataset)),
        artifacts.TABLE: markdown_table(comparison, methods, [*notes, *too_large]).encode(),
        artifacts.CLAIMS: csv(verdicts),
        artifacts.CLAIMS_TABLE: claims_markdown(verdicts).encode(),
        artifacts.EFFECTS: csv(named(effect_rows(seeds), run.dataset)),
        **_influential(run, scores, seeds, examples),
        **_figures(run, comparison),
        **_groups(run.dataset),
        **flipped_file(run.dataset),
        **token_file(run.dataset, seeds),
        **page,
    }
    artifacts.write_results(folder, files, record)
    write_index(run.results_dir)
    return diverged


def _notes(run: Run, failed: Mapping[str, str], diverged: list[str]) -> list[str]:
    """Sentences under the table: of the model, methods without scores, diverged runs, sizes of groups, wrong labels."""
    notes = [*model_notes(run), *failure_notes(failed)]
    notes += [f"Runs that diverged are left out of the means above: {some_of(diverged, '; ')}."] if diverged else []
    groups = run.dataset.left_out
    if len(groups) < FEW:
        notes.append(
            f"With only {len(groups)} left out, centring takes much of the effects away and nothing of the scores: the "
            "Pearson correlation, which centres both, says more than the cosine."
        )
    if groups.names is not None:
        sizes = groups.sizes
        rows = f"{sizes.min()} to {sizes.max()}" if sizes.min() < sizes.max() else f"{sizes.max()}"
        notes.append(f"Left out: {len(groups)} groups of {rows} training rows each ({artifacts.GROUPS}).")
    if (flipped := run.dataset.flipped) is not None:
        rows = f"{len(flipped)} of {len(run.dataset.train)} training rows"
        notes.append(f"The labels of {rows} were made wrong ({artifacts.FLIPPED}).")
    return notes


def _figures(run: Run, comparison: Comparison) -> dict[str, bytes]:
    return {
        f"{name}.{kind}": content
        for name, figure in figures(run, comparison).items()
        for kind, content in figure_files(figure).items()
    }


def _influential(run: Run, scores: Scores, seeds: list[xr.Dataset], examples: Examples) -> dict[str, bytes]:
    """The examples that helped and harmed most, for people: text, and a picture where they are images."""
    ranked = rankings(scores, seeds)
    files = {artifacts.INFLUENTIAL: influential_markdown(ranked, examples, watched=run.watched).encode()}
    gold = [name for name in ranked if name.startswith(GOLD)]
    if figure := influential_figure(gold[-1], ranked[gold[-1]], examples):
        files[artifacts.INFLUENTIAL_PICTURE] = to_bytes(figure, "png")
    return files


def _groups(data: Data) -> dict[str, bytes]:
    content = groups_json(data.left_out, data.train.index, data.names.train)
    return {} if content is None else {artifacts.GROUPS: content}
