"""Make one figure or table of the paper, with the runs that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from fimo.paper.items import ITEMS
from fimo.paper.panels import COMPARE, RUNS, Panels
from fimo.pipeline import artifacts
from fimo.report.paper_index import Entry, paper_index

# What each kind of figure or table shows, in a line.
ABOUT = {
    "curves": "Agreement with the gold standard against the amount of further training",
    "seeds": "Cosine at the best amount against the number of seeds averaged",
    "sorted": "Sorted scores beside those of further training",
    "influential": "The most helpful and most harmful training example of some test examples",
    "published": "The numbers that the paper prints, beside ours",
    "methods": "Cosine of every method at the first, the best and the last amount",
    "cost": "Seconds and memory of computing scores",
    "claims": "The paper's claims and two of ours, with verdicts",
    "beyond": "Area under the curve as a share of the ceiling's",
    "damping": "Cosine of the damped Gauss–Newton solve over damping and amount",
    "frontier": "Area under the curve as a share of the ceiling's, against processor seconds",
    "removal": "What leaving out the rows that rankings name does",
    "lds": "Rank correlation over groups of rows drawn at random",
    "mislabelled": "How well each method finds labels that were made wrong",
}


def make(target: str, item: Mapping[str, Any], panels: Panels, datasets: Sequence[str]) -> str:
    """Make the files of one figure or table.

    Args:
        target: its name, `figure-2`.
        item: what conf/paper.yaml says of it.
        panels: the runs, shared by all targets.
        datasets: experiments, its panels; `cifar10:data=cifar10_subset` for an override of one panel.

    Returns:
        What a reader wants to see of it: a table, or the path of a picture.
    """
    use = item.get("use", COMPARE)
    chosen = _labelled([panel.split(":") for panel in datasets])
    named = {
        f"{label}{variant and f', {variant}'}": panels.get(
            *panel, *item.get("overrides", ()), *more, use=use, methods=methods_of(item, panel[0])
        )
        for label, panel in chosen.items()
        for variant, more in item.get("variants", {"": ()}).items()
    }
    beside = {
        argument: {
            label: panels.get(*panel, *more["overrides"], use=use, methods=methods_of(item, panel[0]))
            for label, panel in chosen.items()
            if panel[0] in more["panels"]
        }
        for argument, more in item.get("beside", {}).items()
    }
    files = ITEMS[item["shows"]](named, **beside, **item.get("with", {}))
    # A call of another size must not replace what this one shows.
    stem = target if panels.size == "laptop" else f"{target}-{panels.size}"
    paths = {ending: panels.folder / f"{stem}.{ending}" for ending in files}
    for ending, path in paths.items():
        artifacts.write(path, files[ending])
    if "md" in files:
        return f"\n{files['md'].decode()}\n{paths['md']}"
    return str(paths.get("png", next(iter(paths.values()))))


def methods_of(item: Mapping[str, Any], experiment: str) -> str | None:
    """The methods of a panel where the reader names none, `cg,trak`; None for those of a run.

    Args:
        item: of conf/paper.yaml.
        experiment: the panel's.
    """
    names = [item.get("methods"), item.get("more_methods", {}).get(experiment)]
    return ",".join(filter(None, names)) or None


def _labelled(panels: list[list[str]]) -> dict[str, list[str]]:
    """Experiment and overrides of each panel by what it is called: the experiment, with them where it is not alone."""
    names = [name for name, *_ in panels]
    return {", ".join(panel) if names.count(panel[0]) > 1 else panel[0]: panel for panel in panels}


def write_page(items: Mapping[str, Mapping[str, Any]], panels: Panels) -> Path | None:
    """Write index.html over all figures and tables of a size that were made; None where there are none.

    Args:
        items: of conf/paper.yaml, in their order.
        panels: whose folder and size it is.
    """
    folder, suffix = panels.folder, "" if panels.size == "laptop" else f"-{panels.size}"
    entries = []
    for target, item in items.items():
        about = f"{ABOUT[item['shows']]}."
        picture, table = (folder / f"{target}{suffix}.{ending}" for ending in ("png", "csv"))
        if picture.is_file():
            entries.append(Entry(target, about, picture.read_bytes()))
        elif table.is_file() and len(text := table.read_text().strip()):
            notes = [line for line in table.with_suffix(".md").read_text().splitlines() if line and line[0] not in "|#"]
            entries.append(Entry(target, about, table=pd.read_csv(StringIO(text)), notes=notes))
    if not entries:
        return None
    reports = sorted(folder.glob(f"{RUNS}/*/{artifacts.REPORT}"))
    runs = {path.parent.name: path.relative_to(folder).as_posix() for path in reports}
    page = folder / f"index{suffix}.html"
    title, count = "The paper's figures and tables, and ours", f"size {panels.size}, {len(entries)} in all"
    artifacts.write(page, paper_index(entries, runs, title, count))
    return page
