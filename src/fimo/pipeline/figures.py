"""The figures of a run, and what stands over them."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from fimo.comparison.tables import Comparison
from fimo.pipeline.files import folder_name
from fimo.pipeline.specification import LEAVE_ONE_OUT, RETRAINING, TANGENT, RunSpecification
from fimo.report.figures import curves_figure, seeds_figure

# By `RunSpecification.gold`: what it is called, and the axis along which there is more of it.
GOLD_NAMES = {
    LEAVE_ONE_OUT: "further training",
    RETRAINING: "re-training",
    TANGENT: "tangents of further training",
}
AMOUNT_OF_FURTHER_TRAINING = "amount of further training (epochs)"
AMOUNT_LABELS = {
    LEAVE_ONE_OUT: AMOUNT_OF_FURTHER_TRAINING,
    RETRAINING: "epochs of re-training from scratch",
    TANGENT: AMOUNT_OF_FURTHER_TRAINING,
}


def figures(run: RunSpecification, comparison: Comparison) -> Mapping[str, Figure]:
    """The figures of a run, by file name without its ending.

    Args:
        run: for titles and axes.
        comparison: its tables.
    """
    title = f"{folder_name(run.name)}: {GOLD_NAMES[run.gold]} with {measured(run, comparison)}"
    return {
        "curves": curves_figure(comparison, title, AMOUNT_LABELS[run.gold], run.watched),
        "seeds": seeds_figure(comparison, title, run.watched),
    }


def measured(run: RunSpecification, comparison: Comparison) -> str:
    """What the gold standard is: `SGD, 3 seeds`.

    Args:
        run: the run.
        comparison: its tables.
    """
    n_seeds = int(comparison.curves["n_seeds"].iloc[0])
    return f"{run.training.optimizer_name}, {n_seeds} seed{'s' if n_seeds > 1 else ''}"
