"""One table and one figure of a sweep, from what its jobs have finished.

`python experiments/figures.py energy-damping results/energy-times.damping=*` writes results/energy-damping/.
"""

from argparse import ArgumentParser
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fimo.app.main import told
from fimo.comparison.sweeps import Job, sweep_table
from fimo.errors import UserError
from fimo.pipeline.artifacts import CURVES, SWEEP, read_run, write
from fimo.pipeline.run import say
from fimo.report.figures import figure_files
from fimo.report.sweeps import sweep_figure
from fimo.report.tables import table_files


def main(arguments: list[str] | None = None) -> None:
    """Gather the results folders that are named, and write the sweep's beside the first."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the folder that is written")
    parser.add_argument("folders", nargs="+", type=Path, help="results folders of the sweep's jobs")
    asked = parser.parse_args(arguments)
    if Path(asked.name).name != asked.name:
        raise UserError(f"The name must be that of a folder, without a path, found {asked.name}.")
    target = asked.folders[0].parent / asked.name
    if read_run(target) is not None:
        raise UserError(f"{target} holds the results of a run: choose another name for those of the sweep.")
    table, figure, notes = gathered(asked.folders, asked.name)
    files = table_files(table, table, notes)
    for kind, content in (files | figure_files(figure)).items():
        write(target / f"{SWEEP}.{kind}", content)
    say(f"\n{files['md'].decode()}\n{target}")


def gathered(folders: list[Path], title: str) -> tuple[pd.DataFrame, Figure, list[str]]:
    """Table and figure of the results folders in which a run has finished, with the notes under the table.

    Raises:
        UserError: where there is none.
    """
    jobs: list[Job] = []
    measured: dict[str, None] = {}
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        if (run := read_run(folder)) is None:
            say(f"{folder}: no run has finished there")
        else:
            measured[_measured(run["config"])] = None
            jobs.append(Job(run.get("swept") or {"run": folder.name}, pd.read_csv(folder / CURVES)))
    if not jobs:
        raise UserError("none of the folders holds a finished run: name results folders, as in results/energy-*.")
    told = "; ".join(measured)
    notes = ["Centred cosines (eq. 13 and 17), mean ± standard error over test examples.", f"Measured: {told}."]
    return sweep_table(jobs), sweep_figure(jobs, f"{title}: {told}"), notes


def _measured(config: dict) -> str:
    """The data, and the size where it is not the default: what no sweep should mix without saying so."""
    size = config["facts"]["size"]
    return config["data"]["name"] + ("" if size == "laptop" else f" (size={size})")


if __name__ == "__main__":
    told(main)
