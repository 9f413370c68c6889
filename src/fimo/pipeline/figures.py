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
    title = f"{folder_name(run.name)}: {gold_in_words(run, seeds_of(comparison))}"
    return {
        "curves": curves_figure(comparison, title, AMOUNT_LABELS[run.gold], run.watched),
        "seeds": seeds_figure(comparison, title, run.watched),
    }


def measured(run: RunSpecification, seeds: int) -> str:
    """What the gold standard is made of: `SGD, 3 seeds`.

    Args:
        run: the run.
        seeds: that are compared.
    """
    return f"{run.training.optimizer_name}, {seeds} seed{'s' if seeds > 1 else ''}"


def gold_in_words(run: RunSpecification, seeds: int) -> str:
    """What the gold standard is: `further training with SGD, 3 seeds`.

    Args:
        run: the run.
        seeds: that are compared.
    """
    return f"{GOLD_NAMES[run.gold]} with {measured(run, seeds)}"


def seeds_of(comparison: Comparison) -> int:
    """How many seeds the tables of a comparison are made of."""
    return int(comparison.curves["n_seeds"].iloc[0])
