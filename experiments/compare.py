"""Stage 4: tables and figures from what the other stages left. `python experiments/compare.py experiment=energy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fimo.app.main import app

if TYPE_CHECKING:
    from fimo.pipeline.run import Run


@app
def main(run: Run) -> int:
    """Compare anew, with the seeds that are there, and write the results folder."""
    from fimo.pipeline import results, stages
    from fimo.pipeline.attribute import read_scores
    from fimo.pipeline.seed_files import SeedFiles

    done = read_scores(run)
    with SeedFiles(run) as seeds:
        folder, diverged = results.compared(run, done, seeds, {}, anew=True)
    code = stages.exit_code(diverged, done.failed)
    print(folder, flush=True)
    return code


if __name__ == "__main__":
    main()
