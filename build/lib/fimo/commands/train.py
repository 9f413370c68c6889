"""Stage 1: the final model. `python experiments/train.py experiment=energy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fimo.app.main import app

if TYPE_CHECKING:
    from fimo.pipeline.run import Run


@app
def main(run: Run) -> float:
    """Train the final model, or take it from `final.checkpoint`, where it isn't there: its loss on the test split."""
    from fimo.pipeline import stages

    stages.train(run)
    return stages.final_loss(run)


if __name__ == "__main__":
    main()
