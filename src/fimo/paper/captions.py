"""The runs behind one figure or table: what stands over their panels and under their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd

from fimo.paper.panels import Panel

# By what a panel is called: its run, or why there is none.
Found = Mapping[str, Panel | str]


def runs(found: Found) -> Iterator[tuple[str, Panel]]:
    """The runs that are there."""
    return ((name, panel) for name, panel in found.items() if isinstance(panel, Panel))


def title(name: str, panel: Panel) -> str:
    """`energy: SGD, 3 seeds`, and which data where the name doesn't say so."""
    data = panel.cfg.data.name
    return f"{name}{'' if data in name else f' ({data})'}: {panel.measured}"


def title_with_gradient(name: str, panel: Panel) -> str:
    """The title with the norm of the mean training gradient ∇R at θ_f, which a method that moves gradients measures."""
    norms = [facts["mean_gradient_norm"] for facts in panel.run["methods"].values() if "mean_gradient_norm" in facts]
    if not norms:
        return title(name, panel)
    norm = f"‖∇R‖ = {norms[0]:.2g}".replace(" ", "\N{NO-BREAK SPACE}")  # titles are broken into lines
    return f"{title(name, panel).removesuffix(panel.measured)}{norm}; {panel.measured}"


def titled(found: Found, drawn: Callable[[Panel], Any], title: Callable[[str, Panel], str] = title) -> dict[str, Any]:
    """By title, what a panel draws, or why it stays empty."""
    return {
        name if isinstance(panel, str) else title(name, panel): panel if isinstance(panel, str) else drawn(panel)
        for name, panel in found.items()
    }


def joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One table of several, the data set in front."""
    if not tables:
        return pd.DataFrame({"data set": []})
    return pd.concat(tables, names=["data set"]).reset_index(level=0)


def measured(found: Found, beside: Found = MappingProxyType({})) -> list[str]:
    """What the rows are of, and which are not there."""
    there = [title(name, panel) for some in (found, beside) for name, panel in runs(some)]
    empty = [f"{name}: {panel}" for name, panel in found.items() if isinstance(panel, str)]
    diverged = [
        f"{name}: left out where they diverged, {'; '.join(panel.run['diverged'])}."
        for name, panel in runs(found)
        if panel.run["diverged"]
    ]
    return [f"Measured: {'; '.join(there)}." if there else "Nothing was measured.", *empty, *diverged]
