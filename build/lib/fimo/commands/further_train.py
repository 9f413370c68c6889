"""Stage 3: the gold standard. `python experiments/further_train.py experiment=energy further.seeds=10`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fimo.app.main import app

if TYPE_CHECKING:
    from fimo.pipeline.run import Run


@app
def main(run: Run) -> int:
    """Compute the seeds that aren't there."""
    from fimo.pipeline import stages
    from fimo.pipeline.seed_files import SeedFiles

    stages.further_train(run)
    with SeedFiles(run) as seeds:
        return stages.exit_code(stages.diverged_runs(seeds.finished()))


if __name__ == "__main__":
    main()
