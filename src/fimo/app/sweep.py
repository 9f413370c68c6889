"""One table and one figure of a sweep, from what its jobs have finished.

`python experiments/sweep.py energy-damping results/energy-times.damping=*` writes results/energy-damping/.
"""

from __future__ import annotations

import logging
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fimo.errors import UserError
from fimo.messages import log_to_stdout
from fimo.pipeline.artifacts import CURVES, SWEEP, read_run, write

logger = logging.getLogger(__name__)


def gather(arguments: Sequence[str]) -> None:
    """Gather the results folders that are named, and write the sweep's beside the first.

    Args:
        arguments: the sweep's name, and the folders of its jobs.

    Raises:
        UserError: where no run has finished in any of them, or the name is that of a run.
    """
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the folder that is written")
    parser.add_argument("folders", nargs="+", type=Path, help="results folders of the sweep's jobs")
    options = parser.parse_args(arguments)
    log_to_stdout()
    if Path(options.name).name != options.name:
        raise UserError(f"The name must be that of a folder, without a path, found {options.name}.")
    target = options.folders[0].parent / options.name
    if read_run(target) is not None:
        raise UserError(f"{target} holds the results of a run: choose another name for those of the sweep.")
    records = _finished(options.folders)
    files = _files(records, options.name)
    for kind, content in files.items():
        write(target / f"{SWEEP}.{kind}", content)
    logger.info("\n%s\n%s", files["md"].decode(), target)


def _finished(folders: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """`run.json` of each folder in which a run has finished."""
    records = {}
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        if not folder.is_dir():
            logger.info("%s: there is no such folder (a pattern in quotes stays a pattern)", folder)
        elif (record := read_run(folder)) is None:
            logger.info("%s: no run has finished there", folder)
        else:
            records[folder] = record
    if not records:
        raise UserError("none of the folders holds a finished run: name results folders, as in results/energy-*.")
    return records


def _files(records: Mapping[Path, dict[str, Any]], title: str) -> dict[str, bytes]:
    """Table and figure of the jobs, with the notes under the table, by the files' endings."""
    import pandas as pd  # and drawing: a folder that isn't there is told before

    from fimo.comparison.sweeps import Job, sweep_table
    from fimo.report.figures import figure_files
    from fimo.report.sweeps import sweep_figure
    from fimo.report.tables import table_files

    jobs = [
        Job(record.get("swept") or {"run": folder.name}, pd.read_csv(folder / CURVES))
        for folder, record in records.items()
    ]
    measured = "; ".join(dict.fromkeys(_measured(record["config"]) for record in records.values()))
    notes = ["Centred cosines (eq. 13 and 17), mean ± standard error over test examples.", f"Measured: {measured}."]
    table = sweep_table(jobs)
    return table_files(table, table, notes) | figure_files(sweep_figure(jobs, f"{title}: {measured}"))


def _measured(config: Mapping[str, Any]) -> str:
    """The data, and the size where it is not the default: what no sweep should mix without saying so."""
    size = config["facts"]["size"]
    return config["data"]["name"] + ("" if size == "laptop" else f" (size={size})")
