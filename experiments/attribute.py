"""Stage 2: scores of the chosen methods. `python experiments/attribute.py experiment=energy method=paper`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fimo.app.main import app

if TYPE_CHECKING:
    from fimo.pipeline.run import Run


@app
def main(run: Run) -> int:
    """Compute the scores that aren't there; 3 where a method can't have any."""
    from fimo.pipeline.attribute import attribute
    from fimo.pipeline.stages import exit_code

    return exit_code([], attribute(run).failed)


if __name__ == "__main__":
    main()
