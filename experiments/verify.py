"""Are the rankings true for this model? `python experiments/verify.py experiment=energy verify.tests=[3,7]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fimo.app.main import app_named

if TYPE_CHECKING:
    from fimo.pipeline.run import Run


@app_named("-verify")
def main(run: Run) -> int:
    """Train on without the rows that each method names, and without random ones; the results folder is printed last."""
    from fimo.pipeline.verify_all import verify_all

    return verify_all(run)


if __name__ == "__main__":
    main()
