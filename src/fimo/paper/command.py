"""The paper's figures and tables, and ours: `python experiments/paper.py figure-2 table-2 datasets=energy,fico`.

`datasets=energy,cifar10:data=cifar10_subset` gives one panel options of its own.
What is missing is computed through the stages' own cache, what can't be had is said in its place, and the files lie in
`results/paper/`. Other arguments with a `=` are overrides of every panel, as for run.py: size=smoke method=paper
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fimo.app.errors import CONFIG_DIR
from fimo.app.main import told
from fimo.app.settings import plain
from fimo.paper.items import SHOWS
from fimo.paper.panels import Panels
from fimo.pipeline import artifacts
from fimo.pipeline.run import say

DATASETS = "datasets="
EXPERIMENTS = sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml"))


def main(arguments: list[str] | None = None) -> None:
    """Make the files of each target, and print where they are."""
    items = plain(DictConfig(OmegaConf.load(CONFIG_DIR / "paper.yaml")))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("argument", nargs="+", metavar="TARGET", help=f"all, {', '.join(items)}; datasets=…; overrides")
    asked = parser.parse_args(arguments).argument
    targets = [argument for argument in asked if "=" not in argument]
    given = [argument.removeprefix(DATASETS) for argument in asked if argument.startswith(DATASETS)]
    datasets = [name for some in given for name in some.split(",") if name]
    names = [name.partition(":")[0] for name in datasets]
    if given and not datasets or any(argument.startswith("experiment=") for argument in asked):
        parser.error(f"data sets are named by datasets=…, several with commas between: {', '.join(EXPERIMENTS)}")
    for asked_for, choices in ((targets, ["all", *items]), (names, EXPERIMENTS)):
        if unknown := [choice for choice in asked_for if choice not in choices]:
            parser.error(f"{unknown[0]} is none of {', '.join(choices)}")
    if not targets:
        parser.error(f"name a figure or table: all, {', '.join(items)}")
    panels = Panels([argument for argument in asked if "=" in argument and not argument.startswith(DATASETS)])
    for target in items if "all" in targets else targets:
        say("\n".join(map(str, make(target, items[target], panels, datasets))))


def make(target: str, item: Mapping[str, Any], panels: Panels, datasets: list[str]) -> list[Path]:
    """Make one figure or table.

    Args:
        target: its name, `figure-2`.
        item: what conf/paper.yaml says of it.
        panels: the runs, shared by all targets.
        datasets: experiments in place of the paper's panels, if any; `cifar10:data=cifar10_subset` for an override of
            one panel.

    Returns:
        The files.
    """
    own = _labelled([panel.split(":") for panel in datasets or item["panels"]])
    found = {
        f"{label}{variant and f', {variant}'}": panels.get(*panel, *item.get("overrides", ()), *more)
        for label, panel in own.items()
        for variant, more in item.get("variants", {"": ()}).items()
    }
    beside = {
        argument: {
            label: panels.get(*panel, *more["overrides"]) for label, panel in own.items() if panel[0] in more["panels"]
        }
        for argument, more in item.get("beside", {}).items()
    }
    files = SHOWS[item["shows"]](found, **beside, **item.get("with", {}))
    paths = {panels.folder / f"{target}.{ending}": content for ending, content in files.items()}
    for path, content in paths.items():
        artifacts.write(path, content)
    return list(paths)


def _labelled(panels: list[list[str]]) -> dict[str, list[str]]:
    """Experiment and overrides of each panel by what it is called: the experiment, with them where it is not alone."""
    names = [name for name, *_ in panels]
    return {", ".join(panel) if names.count(panel[0]) > 1 else panel[0]: panel for panel in panels}


if __name__ == "__main__":
    told(main)
