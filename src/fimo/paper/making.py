"""Make one figure or table of the paper, with the runs that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fimo.paper.items import ITEMS
from fimo.paper.panels import COMPARE, Panels
from fimo.pipeline import artifacts


def make(target: str, item: Mapping[str, Any], panels: Panels, datasets: Sequence[str]) -> str:
    """Make the files of one figure or table.

    Args:
        target: its name, `figure-2`.
        item: what conf/paper.yaml says of it.
        panels: the runs, shared by all targets.
        datasets: experiments in place of the paper's panels, if any; `cifar10:data=cifar10_subset` for an override of
            one panel.

    Returns:
        What a reader wants to see of it: a table, or the path of a picture.
    """
    use = item.get("use", COMPARE)
    chosen = _labelled([panel.split(":") for panel in datasets or item["panels"]])
    named = {
        f"{label}{variant and f', {variant}'}": panels.get(*panel, *item.get("overrides", ()), *more, use=use)
        for label, panel in chosen.items()
        for variant, more in item.get("variants", {"": ()}).items()
    }
    beside = {
        argument: {
            label: panels.get(*panel, *more["overrides"], use=use)
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


def _labelled(panels: list[list[str]]) -> dict[str, list[str]]:
    """Experiment and overrides of each panel by what it is called: the experiment, with them where it is not alone."""
    names = [name for name, *_ in panels]
    return {", ".join(panel) if names.count(panel[0]) > 1 else panel[0]: panel for panel in panels}
