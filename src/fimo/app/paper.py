"""The paper's figures and tables, and ours: `python experiments/paper.py figure-2 table-2 datasets=energy,fico`.

`datasets=energy,cifar10:data=cifar10_subset` gives one panel options of its own.
What is missing is computed through the stages' own cache, what can't be had is said in its place, and the files lie in
`results/paper/`. Other arguments with a `=` are overrides of every panel, as for run.py: size=smoke method=paper
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from fimo.app.errors import CONFIG_DIR
from fimo.compat import lasting_imports
from fimo.errors import UserError
from fimo.messages import log_to_stdout, silence_libraries

if TYPE_CHECKING:
    from fimo.pipeline.run import Run

logger = logging.getLogger(__name__)
DATASETS = "datasets="
EXPERIMENTS = sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml"))


def make_items(arguments: Sequence[str]) -> None:
    """Make the files of each target, and print what it shows and where its files are.

    Args:
        arguments: targets, `datasets=…` and overrides.
    """
    items = yaml.safe_load((CONFIG_DIR / "paper.yaml").read_text())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("argument", nargs="+", metavar="TARGET", help=f"all, {', '.join(items)}; datasets=…; overrides")
    words = parser.parse_args(arguments).argument
    targets = [word for word in words if "=" not in word]
    given = [word.removeprefix(DATASETS) for word in words if word.startswith(DATASETS)]
    datasets = [name for some in given for name in some.split(",") if name]
    names = [name.partition(":")[0] for name in datasets]
    if given and not datasets or any(word.startswith("experiment=") for word in words):
        parser.error(f"data sets are named by datasets=…, several with commas between: {', '.join(EXPERIMENTS)}")
    for chosen, choices in ((targets, ["all", *items]), (names, EXPERIMENTS)):
        if unknown := [choice for choice in chosen if choice not in choices]:
            parser.error(f"{unknown[0]} is none of {', '.join(choices)}")
    if not targets:
        parser.error(f"name a figure or table: all, {', '.join(items)}")
    log_to_stdout()
    silence_libraries()
    overrides = [word for word in words if "=" in word and not word.startswith(DATASETS)]
    _make(items, list(items) if "all" in targets else targets, overrides, datasets)


def _make(items: dict[str, Any], targets: Sequence[str], overrides: Sequence[str], datasets: Sequence[str]) -> None:
    with lasting_imports():
        from fimo.app.config import compose_config
        from fimo.paper.making import make, write_page
        from fimo.paper.panels import Panels

    cfg = compose_config(overrides)
    if unknown := [name for name in cfg.facts.panels or [] if name not in EXPERIMENTS]:
        raise UserError(f"facts.panels must be some of {', '.join(EXPERIMENTS)}, found {unknown[0]}.")

    def of_size(panel: str) -> bool:
        return cfg.facts.panels is None or panel.partition(":")[0] in cfg.facts.panels

    panels = Panels(panel_run, overrides, cfg.paths.results_dir, CONFIG_DIR / "published", cfg.facts.size)
    try:
        for target in targets:
            names = datasets or [panel for panel in items[target]["panels"] if of_size(panel)]
            if names:
                logger.info(make(target, items[target], panels, names))
            else:
                logger.info("%s has no panel among %s, those of this size.", target, ", ".join(cfg.facts.panels))
        if page := write_page(items, panels):
            logger.info("all of them in one page: %s", page)
    finally:
        panels.close()


def panel_run(overrides: Sequence[str]) -> Run:
    """The run of a panel, named after what it measures.

    Args:
        overrides: as on the command line, the experiment among them.

    Raises:
        UserError: for what the user can put right; `Unavailable` where the data set can't have what is asked for.
    """
    from fimo.app.config import compose_config, run_of

    run = run_of(compose_config(overrides))
    gold = [] if run.gold == "leave_one_out" else [run.gold]
    name = "-".join([run.name, run.training.optimizer_name.lower(), *gold, run.size])
    return replace(run, name=name, overrides=tuple(overrides))
