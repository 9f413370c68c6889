"""What a comparison needs of the data, looked at before the work."""

from __future__ import annotations

from fimo.comparison.tables import require_several
from fimo.pipeline.run import Run
from fimo.pipeline.score_files import FileScores
from fimo.pipeline.scorers import ScorerMethod, selected


def require_comparison(run: Run) -> None:
    """Refuse a run whose comparison can have no numbers, before its final model is trained.

    Args:
        run: the run; its data are loaded.

    Raises:
        UserError: for one left-out example, and for files of scores that don't cover the examples.
    """
    require_several(len(run.dataset.left_out))
    if run.dataset.mistakes is not None:
        return  # which examples these are, only the final model knows
    for method in run.methods.values():
        if isinstance(method, ScorerMethod) and isinstance(method.scorer, FileScores):
            selected(method.scorer.read(), run.examples, f"The scores of {method.label}")
