"""Every method's ranking of all training rows. `python experiments/rank.py experiment=energy data.test_count=20`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fimo.app.main import app_named

if TYPE_CHECKING:
    from fimo.pipeline.run import Run


@app_named("-rank")
def main(run: Run) -> int:
    """Final model and rankings, without further training; the results folder is printed last."""
    from fimo.pipeline.rank_all import rank_all

    return rank_all(run)


if __name__ == "__main__":
    main()
