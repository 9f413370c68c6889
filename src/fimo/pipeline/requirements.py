"""What a comparison needs of the data, looked at before the work."""

from __future__ import annotations

from fimo.comparison.tables import require_several
from fimo.pipeline.score_files import FileScores
from fimo.pipeline.scorers import ScorerMethod, selected
from fimo.pipeline.specification import RunSpecification


def require_comparison(run: RunSpecification) -> None:
    """Refuse a run whose comparison can have no numbers, before its final model is trained.

    Args:
        run: the run; its data are loaded.

    Raises:
        UserError: for one left-out example, and for files of scores that don't cover the examples.
    """
    data = run.dataset
    require_several(len(data.left_out))
    examples = {"test": data.test.index.tolist(), "left_out": data.left_out.labels(data.train.index).tolist()}
    for method in run.methods.values():
        if isinstance(method, ScorerMethod) and isinstance(method.scorer, FileScores):
            selected(method.scorer.read(), examples, f"The scores of {method.label}")
