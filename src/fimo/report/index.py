"""results/index.md: a row for each finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pandas as pd

from fimo.comparison.tables import best_method
from fimo.report.tables import BAR

# What a results folder holds where it is no run's, by what it was made of: a key of `inputs` in its run.json.
KINDS = {"rankings": "ranking", "removal": "verification"}


@dataclass(frozen=True)
class RunEntry:
    """A finished run.

    Attributes:
        name: of its results folder.
        run: its run.json, of which `overrides` (the command line's options, a list of `key=value`), `finished`
            (a date in ISO 8601), `diverged` (a list of runs) and `inputs` (what the results were made of) are read.
        curves: its curves.csv; None where there are none, as for a ranking.
    """

    name: str
    run: Mapping[str, Any]
    curves: pd.DataFrame | None = None


def index_markdown(runs: Sequence[RunEntry]) -> str:
    """All runs in one table, the latest first: name, what it is, options, date, best method, divergence.

    Args:
        runs: in any order.

    Returns:
        The table in Markdown.
    """
    lines = [
        "# Runs",
        "",
        "Best method: that with the highest mean cosine (centred) at any evaluated amount of further training.",
        "",
        "| name | what | options | finished | best method | cosine | epoch | diverged |",
        "|---|---|---|---|---|--:|--:|---|",
    ]
    latest_first = sorted(runs, key=lambda entry: str(entry.run.get("finished", "")), reverse=True)
    return "\n".join([*lines, *map(_row, latest_first)]) + "\n"


def _row(entry: RunEntry) -> str:
    best = None if entry.curves is None else best_method(entry.curves)
    method, cosine, epoch = ("–", "–", "–") if best is None else (best[0], f"{best[1]:.3f}", f"{best[2]:g}")
    overrides = ", ".join(f"`{override}`" for override in entry.run.get("overrides", ())) or "–"
    date = str(entry.run.get("finished", "–")).replace("T", " ")[:16]
    runs = len(entry.run.get("diverged", ()))
    diverged = f"{runs} run{'s' if runs > 1 else ''}" if runs else "no"
    name = str(entry.run.get("name", entry.name))
    label = entry.name if entry.name.startswith(name) else name  # a long one is cut short in the folder's
    what = next((what for key, what in KINDS.items() if key in entry.run.get("inputs", ())), "run")
    link = f"[{label}]({quote(entry.name, safe='/=,+@')}/)"
    diverged = "–" if what == "ranking" else diverged  # nothing was trained on
    cells = [link, what, overrides, date, method, cosine, epoch, diverged]
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"
