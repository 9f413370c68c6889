"""The runs behind one figure or table: what stands over their panels and under their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd

from fimo.errors import some_of
from fimo.paper.panels import Panel
from fimo.pipeline.failures import failure_notes

# By what a panel is called: its run, or why there is none.
NamedPanels = Mapping[str, Panel | str]


def available(panels: NamedPanels) -> Iterator[tuple[str, Panel]]:
    """The runs that are there."""
    return ((name, panel) for name, panel in panels.items() if isinstance(panel, Panel))


def title(name: str, panel: Panel) -> str:
    """`energy: SGD, 3 seeds`, and which data where the name doesn't say so.

    Args:
        name: of the panel.
        panel: its run.
    """
    data = panel.run.data_name
    return f"{name}{'' if data in name else f' ({data})'}: {panel.measured}"


def title_with_gradient(name: str, panel: Panel) -> str:
    """The title with the norm of the mean training gradient ∇R at θ_f, which displaced methods measure.

    Args:
        name: of the panel.
        panel: its run.
    """
    norms = [
        record["mean_gradient_norm"] for record in panel.record["methods"].values() if "mean_gradient_norm" in record
    ]
    if not norms:
        return title(name, panel)
    norm = f"‖∇R‖ = {norms[0]:.2g}".replace(" ", "\N{NO-BREAK SPACE}")  # titles are broken into lines
    return f"{title(name, panel).removesuffix(panel.measured)}{norm}; {panel.measured}"


def titled(
    panels: NamedPanels, drawn: Callable[[Panel], Any], title: Callable[[str, Panel], str] = title
) -> dict[str, Any]:
    """By title, what a panel draws, or why it stays empty.

    Args:
        panels: by name.
        drawn: what is drawn of a finished run.
        title: of a panel.
    """
    return {
        name if isinstance(panel, str) else title(name, panel): panel if isinstance(panel, str) else drawn(panel)
        for name, panel in panels.items()
    }


def joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One table of several, the data set in front."""
    if not tables:
        return pd.DataFrame({"data set": []})
    return pd.concat(tables, names=["data set"]).reset_index(level=0)


def measured(panels: NamedPanels, beside: NamedPanels = MappingProxyType({})) -> list[str]:
    """Sentences that say what the rows are of, and which are not there.

    Args:
        panels: by name.
        beside: further runs that enter the rows.
    """
    titles = [title(name, panel) for some in (panels, beside) for name, panel in available(some)]
    empty = [f"{name}: {panel}" for name, panel in panels.items() if isinstance(panel, str)]
    diverged = [
        f"{name}: runs that diverged are left out ({some_of(panel.record['diverged'], '; ')})."
        for name, panel in available(panels)
        if panel.record.get("diverged")
    ]
    failed = [
        f"{name}: {note}"
        for some in (panels, beside)
        for name, panel in available(some)
        for note in failure_notes(panel.record.get("failed", {}))
    ]
    return [f"Measured: {'; '.join(titles)}." if titles else "Nothing was measured.", *empty, *diverged, *failed]
