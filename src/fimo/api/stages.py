"""The stages from Python: further training, attribution, comparison. `import fimo` has all of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr

from fimo.api.addresses import further_training_artifact
from fimo.api.arguments import (
    about,
    folder_path,
    of_training,
    require_losses_and_scores,
    require_methods,
    require_problem,
    require_training,
    seed_list,
)
from fimo.comparison import tables
from fimo.devices import device_named
from fimo.effect import diverged
from fimo.errors import MethodFailed, Unavailable, UserError
from fimo.further_training.progress import Progress
from fimo.further_training.seeds import train_seeds
from fimo.further_training.settings import FurtherTraining
from fimo.gradients.shared import shared_curvature
from fimo.pipeline import formats
from fimo.pipeline.artifacts import seed_file
from fimo.pipeline.catalogue import LISSA_BATCH, method_named, method_of
from fimo.pipeline.failures import failure_notes, require_scores
from fimo.pipeline.groups_file import write_groups
from fimo.pipeline.methods import Method, Scored
from fimo.pipeline.scorers import AnyMethod, Scorer, ScorerMethod, scorer_method, selected
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


@torch.enable_grad()
def further_train(
    problem: Problem,
    training: FurtherTraining,
    seeds: int | Sequence[int] = 3,
    folder: str | Path | None = None,
    device: str | torch.device = "auto",
) -> xr.Dataset:
    """The gold standard: train on from the final model, with and without each left-out example.

    Args:
        problem: the final model, its objective, its rows and the examples that are left out.
        training: what further training is.
        seeds: how many, which are then 0, 1, …; or a list of them.
        folder: finished seeds are stored there, and found again by the next call with the same problem and training;
            None keeps nothing.
        device: to compute on; `auto` takes a GPU where torch can use one.

    Returns:
        `loss_before [seed, test]`, `loss_full [seed, step, test]` and `loss_left_out [seed, step, test, left_out]` in
        float64 (tangents give `effect` in place of the last), with the coordinate `epoch` beside `step`. With a
        measurement, these are its values, and `attrs["watched"]` names it. A run that diverged is NaN, with a warning.
        Language models have `token_loss_before` too, and `token_loss_full`, of the last step, `[seed, test, token]`.

    Raises:
        UserError: for an argument of another type, for seeds that are not different whole numbers of at least 0, and
            where the network does not suit the training.
    """
    require_problem("further_train", problem)
    require_training("further_train", training)
    wanted, path, losses = seed_list(seeds), folder_path(folder), {}
    artifact = None if path is None else further_training_artifact(problem, training, path)
    if artifact is not None:
        stored = [seed for seed in wanted if artifact.has(seed_file(seed))]
        losses = {seed: formats.read_dataset(artifact.path(seed_file(seed))) for seed in stored}
        write_groups(artifact, problem.left_out, problem.train.index)
    if missing := [seed for seed in wanted if seed not in losses]:
        placed = problem.to(device=device_named(device))
        with Progress(len(missing)) as progress:
            callbacks = [progress] if sys.stderr.isatty() else []
            for seed, computed, elapsed in train_seeds(placed, training, missing, callbacks=callbacks):
                losses[seed] = computed
                logger.info("further training: seed %d (%.1f s)", seed, elapsed.seconds)
                if runs := diverged(computed):
                    logger.warning("further training diverged with seed %d: %s", seed, ", ".join(runs))
                if artifact is not None:
                    with artifact.lock(seed_file(seed)):
                        artifact.write(seed_file(seed), formats.from_dataset(computed), **elapsed.record())
    gold = xr.concat([losses[seed] for seed in wanted], "seed", join="exact").assign_coords(seed=wanted)
    return gold.assign_attrs(about(problem) | of_training(training, gold))


@torch.enable_grad()
def attribute(
    problem: Problem,
    methods: Sequence[str | Preconditioner | AnyMethod | Scorer | Callable[[Problem], Any]],
    training: FurtherTraining | None = None,
    device: str | torch.device = "auto",
) -> dict[str, xr.DataArray]:
    """Scores of all left-out examples for all test examples, by each method.

    Args:
        problem: the final model, its objective, its rows and the examples that are left out.
        methods: names as on the command line (`cg`), a `Preconditioner`, a `Method`; a function `scores(problem) ->
            [test, left_out]`, whose label is its name; or an object with a `label` and such a method `scores` (see
            `Scorer`).
        training: the further training that the scores are to predict, for methods that depend on it.
        device: to compute on; `auto` takes a GPU where torch can use one.

    Returns:
        By label, `[test, left_out]`, or `[step, test, left_out]` for a method that depends on the amount of further
        training; positive where leaving the example out raises the loss (or the problem's measurement), each method
        in units of its own. Notes of a method stand in `attrs["notes"]`. A method that can't be applied to the problem
        is missing, and a warning of the log says why.

    Raises:
        UserError: for an argument of another type, an unknown method, two of one label; `MethodFailed` where all fail.
    """
    require_problem("attribute", problem)
    require_methods("attribute", methods)
    require_training("attribute", training, optional=True)
    chosen = methods_of(methods, training, problem)
    scores = of_each(chosen, problem, device, lambda method, placed: method.scores(placed, training))
    return {label: score.assign_attrs(of_training(training, score)) for label, score in scores.items()}


def methods_of(methods: Any, training: FurtherTraining | None, problem: Problem) -> list[AnyMethod]:
    """The methods that a caller names or hands over, one or several.

    Args:
        methods: see `attribute`.
        training: see `attribute`.
        problem: whose objective says which curvature is usual.

    Raises:
        UserError: for an unknown method, and two of one label.
    """
    if not isinstance(methods, Iterable) or isinstance(methods, str):
        methods = [methods]
    chosen = [_method(method, training, problem) for method in methods]
    labels = [method.label for method in chosen]
    if len(set(labels)) < len(labels):
        advice = "give functions names of their own, as def does" if "<lambda>" in labels else "give them other labels"
        raise UserError(f"method labels must differ from each other, found {', '.join(labels)}: {advice}.")
    return chosen


def of_each(
    methods: Sequence[AnyMethod],
    problem: Problem,
    device: str | torch.device,
    compute: Callable[[AnyMethod, Problem], Scored],
) -> dict[str, Any]:
    """What each method gives, by label; one that can't be applied to the problem is missing, with a warning.

    Args:
        methods: of different labels.
        problem: see `attribute`.
        device: see `attribute`.
        compute: of a method and the problem in its precision.

    Returns:
        By label, with the notes of the method in `attrs["notes"]`.

    Raises:
        MethodFailed: where no method can be applied.
    """
    target, values, failed, attributes = device_named(device), {}, {}, about(problem)
    placed = cache(lambda dtype: problem.in_precision(dtype, target))  # methods of one precision share a copy
    with shared_curvature():
        for method in methods:
            try:
                scored = compute(method, placed(method.dtype))
            except (MethodFailed, Unavailable) as reason:  # the latter of an optimiser that the method doesn't know
                if len(methods) == 1:
                    raise
                failed[method.label] = str(reason)
            else:
                values[method.label] = scored.values.assign_attrs(notes=list(scored.notes), **attributes)
    require_scores(values, failed)
    for note in failure_notes(failed):
        logger.warning(note)
    return values


def _method(method: Any, training: FurtherTraining | None, problem: Problem) -> AnyMethod:
    if isinstance(method, str):
        return method_named(method, training.batch_size if training else LISSA_BATCH, problem.objective.usual_curvature)
    if isinstance(method, (Method, ScorerMethod)):
        return method
    return method_of(method) if isinstance(method, Preconditioner) else scorer_method(method)


@dataclass(frozen=True)
class Comparison(tables.Comparison):
    """How well scores agree with the gold standard: tables, and a figure of them.

    Attributes:
        curves: a row for each method, adjustment and step: `epoch`; `cosine_mean` and `cosine_sem`, mean over test
            examples and standard error, and so for `pearson` and `spearman`, from −1 to 1, NaN where there is none
            (as where further training changes nothing); `n_test` and `n_seeds`.
        seeds: a row for each method, adjustment and number of seeds: the same cosine at the best step.
        reliability: a row for each adjustment and step: of the gold standard, and its root, the `ceiling`.
        watched: what is measured at the test examples; None for their loss.
    """

    watched: str | None = None

    def figure(self, title: str = "") -> Figure:
        """Cosine similarity (centred) against the amount of further training, a line for each method."""
        from fimo.report.figures import curves_figure

        return curves_figure(self, title, watched=self.watched)


def compare(scores: Mapping[str, xr.DataArray], gold: xr.Dataset) -> Comparison:
    """Hold scores against the gold standard.

    Args:
        scores: by label, as `attribute` gives them; examples are held together by their labels.
        gold: as `further_train` gives it.

    Returns:
        The tables, see `Comparison`.

    Raises:
        UserError: for an argument of another type, scores of other examples, groups, measurements, steps, models or
            training than the gold standard's, fewer than two left-out examples, and where all full runs diverged.
    """
    scores = require_losses_and_scores(scores, gold)
    seeds = [gold.isel(seed=number, drop=True) for number in range(gold.sizes["seed"])]
    for label, score in scores.items():
        if "step" in score.dims:
            selected(score, {"step": gold["step"].values.tolist()}, f"The scores of {label}")
    if all(bool(losses["loss_full"].isnull().any()) for losses in seeds):
        raise UserError(
            "No seed can be compared: all full runs of further training left the finite numbers. A smaller learning "
            "rate may help."
        )
    return Comparison(**vars(tables.compare(scores, seeds)), watched=gold.attrs.get("watched"))
