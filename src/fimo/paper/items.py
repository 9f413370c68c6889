"""What the figures and tables of conf/paper.yaml show: each function makes the files of one, by their ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.area import agreements, beyond_table, ceiling_at, centred_gold
from fimo.comparison.claims import adam_claim
from fimo.comparison.own_claims import OWN_CLAIMS
from fimo.comparison.sorted_scores import profiles
from fimo.paper import uses
from fimo.paper.captions import NamedPanels, available, joined, measured, title, title_with_gradient, titled
from fimo.paper.frontier import frontier
from fimo.paper.panels import Panel
from fimo.paper.published import published
from fimo.paper.tables import cost_table, influential_table, methods_table
from fimo.pipeline.figures import AMOUNT_LABELS
from fimo.pipeline.specification import LEAVE_ONE_OUT
from fimo.report.claims import claims_markdown
from fimo.report.damping_map import draw_dampings
from fimo.report.figures import draw_curves, draw_seeds, figure_files
from fimo.report.influential import Examples
from fimo.report.panels import panels_figure
from fimo.report.sorted_scores import draw_sorted
from fimo.report.tables import table_files

Files = dict[str, bytes]
ADJUSTED = {"none": "as measured", "full": "not centred", "centred": "centred"}
MEASURES = {"cosine": "cosine similarity", "spearman": "Spearman correlation"}


def curves(panels: NamedPanels, adjustment: str = "centred", measure: str = "cosine", gradients: bool = False) -> Files:
    """Agreement against the amount of further training.

    Args:
        panels: by name.
        adjustment: of the effects, `none`, `full` or `centred`.
        measure: `cosine` or `spearman`.
        gradients: whether titles say how stationary θ_f is.
    """
    gold = next((panel.run.gold for _, panel in available(panels)), LEAVE_ONE_OUT)
    draw = partial(draw_curves, adjustment=adjustment, measure=measure)
    drawn = titled(panels, lambda panel: panel.comparison, title_with_gradient if gradients else title)
    return figure_files(
        panels_figure(drawn, draw, AMOUNT_LABELS[gold], f"{MEASURES[measure]} ({ADJUSTED[adjustment]})")
    )


def seeds(panels: NamedPanels, adjustment: str = "centred") -> Files:
    """Cosine at the best step against the number of seeds.

    Args:
        panels: by name.
        adjustment: of the effects, `none`, `full` or `centred`.
    """
    draw = partial(draw_seeds, adjustment=adjustment)
    drawn = titled(panels, lambda panel: panel.comparison)
    return figure_files(panels_figure(drawn, draw, "seeds averaged", f"cosine, best step ({ADJUSTED[adjustment]})"))


def sorted_scores(panels: NamedPanels, methods: Sequence[str]) -> Files:
    """Sorted scores of some methods beside those of further training.

    Args:
        panels: by name.
        methods: their labels.
    """
    lines: dict[str, Any] = {}
    for name, panel in panels.items():
        if isinstance(panel, str):
            lines[name] = panel
            continue
        scores = {label: score for label, score in panel.scores.items() if label in methods}
        drawn, (early, late) = profiles(scores, panel.losses)
        lines[f"{title(name, panel)}; after {early:.3g} and {late:.3g} epochs"] = drawn
    return figure_files(panels_figure(lines, draw_sorted, "rank", "score (of unit length)"))


def influential(panels: NamedPanels, tests: int) -> Files:
    """The most helpful and most harmful training example of some test examples.

    Args:
        panels: by name.
        tests: how many test examples, from the first.
    """
    tables = {
        name: influential_table(panel.losses, Examples(panel.run.dataset.display, panel.run.dataset.names.of), tests)
        for name, panel in available(panels)
    }
    table = joined(tables)
    notes = ["After the first evaluated amount of further training, centred, among the examples left out."]
    return table_files(table, table, [*notes, *measured(panels)])


def methods(panels: NamedPanels) -> Files:
    """All data sets × methods: cosine at the first, the best and the last amount."""
    table = methods_table({name: panel.comparison for name, panel in available(panels)})
    notes = ["Cosine (centred) ± standard error over test examples; ceiling: √reliability at the last amount."]
    return table_files(table, table, [*notes, *measured(panels)])


def cost(panels: NamedPanels) -> Files:
    """Seconds and memory by method and data set."""
    table = cost_table({name: panel.record["methods"] for name, panel in available(panels)})
    notes = ["Of computing a method's scores; memory is the whole process's, which computed the methods in this order."]
    return table_files(table, table, [*notes, *measured(panels)])


def claims(
    panels: NamedPanels, adam: NamedPanels = MappingProxyType({}), beyond: NamedPanels = MappingProxyType({})
) -> Files:
    """The claims with their verdicts.

    Args:
        panels: further training with SGD.
        adam: with Adam, for the claim that compares both.
        beyond: with SGD and the methods that our own claims are about.
    """
    tables = {}
    for name, panel in available(panels):
        rows, second, own = [_claims(panel.claims, ours=False)], adam.get(name), beyond.get(name, panel)
        if isinstance(second, Panel):
            pair = (panel.scores, panel.losses), (second.scores, second.losses)
            rows.append(adam_claim(*pair, np.random.default_rng(0)))
        rows.append(_claims(own.claims if isinstance(own, Panel) else panel.claims, ours=True))
        tables[name] = pd.concat(rows, ignore_index=True)
    table, notes = joined(tables), measured(panels, adam)
    notes += [
        f"{name}, with the methods of figure-beyond: {why}" for name, why in beyond.items() if isinstance(why, str)
    ]
    if any(isinstance(panel, Panel) for panel in beyond.values()):
        notes.append("Our claims are about the same further training, with the methods of figure-beyond.")
    if table.empty:
        return table_files(table, table, notes)
    readable = table.rename(columns={"estimate": "statistic_mean", "standard_error": "statistic_sem"})
    columns = readable[["data set", "claim", "statistic_mean", "statistic_sem", "verdict", "n_test", "n_seeds"]]
    columns = columns.rename(columns={"n_test": "test examples", "n_seeds": "seeds"})
    text = "\n\n".join([claims_markdown(table).rstrip(), *notes])
    return table_files(table, columns, notes) | {"md": f"{text}\n".encode()}


def _claims(table: pd.DataFrame, ours: bool) -> pd.DataFrame:
    """The rows of our own claims, or the others."""
    return table[table["claim"].isin(OWN_CLAIMS) == ours]


def beyond(panels: NamedPanels) -> Files:
    """Areas under the curves of all methods, and of the damped solve with its damping chosen."""
    tables = {}
    for name, panel in available(panels):
        gold = centred_gold(panel.losses)
        ceiling = ceiling_at(panel.comparison.reliability, gold)
        damped = panel.damped[0] if panel.run.training.optimizer_name == "SGD" else None
        tables[name] = beyond_table(panel.scores, damped, gold, ceiling)
    table = joined(tables)
    notes = [
        "Area: mean over the logarithm of the amount, as a share of that under the reliability ceiling ± standard "
        "error over test examples; lowest share: of the ceiling, at any amount. The damping of the damped Gauss–Newton "
        "solve is chosen on one half of the test examples for the other half: for each amount, or one for all. Only "
        "the gold standard is centred in the cosine; Pearson centres both. Panels under Adam have no damped solve: the "
        "dampings that belong to amounts, 1/(ηt), are those of SGD."
    ]
    return table_files(table, table, [*notes, *measured(panels)])


def damping(panels: NamedPanels) -> Files:
    """Cosine of the damped solve over damping and amount, with the line λ = 1/(ηt)."""

    def grid(panel: Panel) -> tuple[xr.DataArray, xr.DataArray]:
        scores, matched = panel.damped
        return agreements(scores, centred_gold(panel.losses)).mean("test"), matched

    drawn = titled(panels, grid)
    amount, label = AMOUNT_LABELS[LEAVE_ONE_OUT], "damping λ of (G + λI)⁻¹; dashed: 1/(ηt)"
    return figure_files(panels_figure(drawn, draw_dampings, amount, label))


ITEMS: Mapping[str, Callable[..., Files]] = {
    "curves": curves,
    "seeds": seeds,
    "sorted": sorted_scores,
    "influential": influential,
    "published": published,
    "methods": methods,
    "cost": cost,
    "claims": claims,
    "beyond": beyond,
    "damping": damping,
    "frontier": frontier,
    "removal": uses.removal,
    "lds": uses.lds,
    "mislabelled": uses.mislabelled,
}
