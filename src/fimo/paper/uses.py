"""What the figures and tables of rankings show: removals, random groups (LDS), wrong labels."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.reliability import rank_ceiling
from fimo.comparison.removal import HELPFUL
from fimo.effect import effect, without_diverged
from fimo.paper.captions import NamedPanels, available, joined, measured, titled
from fimo.paper.panels import Panel
from fimo.pipeline import artifacts
from fimo.pipeline.figures import GOLD_NAMES
from fimo.report.figures import figure_files
from fimo.report.panels import panels_figure
from fimo.report.removal import draw_removal, removal_axes
from fimo.report.tables import table_files

Files = dict[str, bytes]


def removal(panels: NamedPanels) -> Files:
    """The mean effect over the share of the rows that leave, as every method names them.

    Args:
        panels: verifications, by name.
    """
    drawn = titled(panels, lambda panel: panel.verification)
    runs = [panel.run for _, panel in available(panels)]
    both = dict.fromkeys(removal_axes(run.removed.end, run.watched or "loss") for run in runs) or [
        removal_axes(HELPFUL)
    ]
    shares, rise = (" / ".join(dict.fromkeys(labels)) for labels in zip(*both, strict=True))
    return figure_files(panels_figure(drawn, draw_removal, shares, rise))


def lds(panels: NamedPanels, retraining: NamedPanels = MappingProxyType({})) -> Files:
    """Linear datamodeling score: Spearman's correlation over groups drawn at random, by method and amount.

    Args:
        panels: by name; what is left out are random groups.
        retraining: the same with re-training in place of further training.
    """
    tables = {}
    for name, panel in available(panels):
        tables[name] = pd.concat([_lds(panel), *(_lds(p) for n, p in available(retraining) if n == name)])
    table = joined(tables)
    notes = [
        "Linear datamodeling score (LDS): Spearman's rank correlation, over groups of training rows drawn at random, "
        "of the sum of a group's scores with what leaving it out does; mean ± standard error over test examples, at "
        "the first, the best and the last evaluated amount. Ceiling: what a noise-free score would come to at the "
        "last, from halves of the seeds."
    ]
    return table_files(table, table, [*notes, *measured(panels, retraining)])


def _lds(panel: Panel) -> pd.DataFrame:
    curves = panel.comparison.curves.query("adjustment == 'full'")
    last = [losses.isel(step=-1).load() for losses in without_diverged(panel.losses)]
    effects = effect(xr.concat(last, "seed", join="exact"), "full").transpose("seed", "test", "left_out").values
    ceiling, rows = rank_ceiling(effects, np.random.default_rng(0)), []
    for label, curve in curves.groupby("method", sort=False):
        row: dict[str, Any] = {"truth": GOLD_NAMES[panel.run.gold], "method": label}
        best = int(curve["spearman_mean"].fillna(-np.inf).argmax())
        for moment, place in (("first", 0), ("best", best), ("last", -1)):
            row[f"{moment} epoch"] = curve["epoch"].iloc[place]
            row |= {f"{moment} {key}": curve[key].iloc[place] for key in ("spearman_mean", "spearman_sem")}
        rows.append(row | {"ceiling": ceiling, "groups": effects.shape[-1]})
    return pd.DataFrame(rows)


def mislabelled(panels: NamedPanels) -> Files:
    """How well each method finds labels that were made wrong.

    Args:
        panels: rankings of data whose labels were flipped, by name.
    """
    tables: Mapping[str, pd.DataFrame] = {
        name: pd.read_csv(panel.folder / artifacts.DETECTION) for name, panel in available(panels)
    }
    table = joined(tables)
    notes = [
        "AUC: how often a row with a wrong label stands before one without. Precision: the share of wrong labels among "
        "as many rows from the top as there are wrong labels."
    ]
    return table_files(table, table, [*notes, *measured(panels)])
