"""Share of the ceiling's area against processor seconds, from random scores to further training itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from fimo.comparison.area import centred_gold
from fimo.comparison.frontier import Estimate, numbered, quality_table
from fimo.paper.captions import NamedPanels, available, joined, measured, titled
from fimo.paper.panels import Panel
from fimo.pipeline import addresses
from fimo.pipeline.record import method_record
from fimo.report.figures import figure_files
from fimo.report.frontier import draw_frontier
from fimo.report.panels import panels_figure
from fimo.report.tables import table_files

ONE_SEED, TANGENTS = "further training, 1 seed", "tangents, 1 seed"


def frontier(panels: NamedPanels, **beside: NamedPanels) -> dict[str, bytes]:
    """What quality costs: every method, the trajectory, the tangents and one seed of further training itself.

    Args:
        panels: by name.
        beside: `trajectory`, the same further training with the method that follows a run of it; `tangents`, with the
            tangents of a run in place of runs without each example.
    """
    runs = {argument: dict(available(more)) for argument, more in beside.items()}
    tables = {
        name: _table(panel, {argument: named[name] for argument, named in runs.items() if name in named})
        for name, panel in available(panels)
    }
    by_folder = {panel.folder: tables[name] for name, panel in available(panels)}
    drawn = titled(panels, lambda panel: by_folder[panel.folder])
    figure = panels_figure(drawn, draw_frontier, "processor seconds", "share of the area under the ceiling")
    rows = joined(tables)
    text = rows.assign(on_frontier=rows["on_frontier"].map({True: "yes", False: ""})) if len(rows) else rows
    return {**table_files(rows, text, _notes(panels, beside, rows)), **figure_files(figure)}


def _notes(panels: NamedPanels, beside: Mapping[str, NamedPanels], rows: pd.DataFrame) -> list[str]:
    more = {f"{name}, {argument}": run for argument, runs in beside.items() for name, run in runs.items()}
    notes = [
        "Share: area under the curve of the centred cosine over the logarithm of the amount of further training, of "
        "that under the reliability ceiling ± standard error over test examples. Processor seconds: of all threads "
        "(a GPU's are not among them), the final model's training excepted. What follows the order of examples of a "
        "seed is held against the mean of the others.",
        *measured(panels, more),
        *(f"{name}: {why}" for name, why in more.items() if isinstance(why, str)),
    ]
    unknown = rows[rows["processor_seconds"].isna()] if len(rows) else rows
    if len(unknown):
        names = ", ".join(f"{row['method']} ({row['data set']})" for _, row in unknown.iterrows())
        notes.append(f"Not drawn, since they were computed before processor seconds were recorded: {names}.")
    return notes


def _table(panel: Panel, beside: Mapping[str, Panel]) -> pd.DataFrame:
    estimates = list(_scores(panel))
    if trajectory := beside.get("trajectory"):
        estimates += _scores(trajectory, trajectory.run.seeds.first)
    for label, run in ((ONE_SEED, panel), (TANGENTS, beside.get("tangents"))):
        if run is not None:
            estimates += _one_seed(label, run)
    return quality_table(estimates, panel.seeds.finished(), panel.comparison.reliability)


def _scores(panel: Panel, seed: int | None = None) -> Iterator[Estimate]:
    """Of each method of a run; `seed` where they follow the order of examples of one."""
    for name, method in panel.run.methods.items():
        if method.label in panel.scores:  # the others failed
            seconds = method_record(addresses.scores(panel.run, name)).get("processor_seconds", np.nan)
            yield Estimate(method.label, panel.scores[method.label], seconds, seed)


def _one_seed(label: str, panel: Panel) -> Iterator[Estimate]:
    """The effects of the first seed that did not diverge, as if they were scores."""
    if kept := numbered(panel.seeds.finished()):
        first = int(kept[0]["seed"])
        seconds = panel.seeds.entry(first).get("processor_seconds", np.nan)
        yield Estimate(label, centred_gold(kept[:1]), seconds, first)
