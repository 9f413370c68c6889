"""All four stages, each skipped where its result is there. `python experiments/run.py experiment=energy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fimo.app.main import app

if TYPE_CHECKING:
    from fimo.pipeline.run import Run


@app
def main(run: Run) -> int:
    """Final model, scores, further training, comparison; the results folder is printed last."""
    from fimo.pipeline.run_all import run_all

    return run_all(run)


if __name__ == "__main__":
    main()
