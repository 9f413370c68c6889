"""What attribution is for, from Python: ranking all training rows, and seeing whether a ranking is true."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from fimo.api.addresses import problem_config
from fimo.api.arguments import (
    amount_list,
    folder_path,
    require_methods,
    require_problem,
    require_training,
    seed_list,
)
from fimo.api.stages import attribute, further_train, methods_of, of_each
from fimo.comparison import removal
from fimo.effect import last_step
from fimo.errors import UserError
from fimo.further_training.settings import FurtherTraining
from fimo.groups import Groups
from fimo.pipeline.failures import failure_notes, require_scores
from fimo.pipeline.files import short_hash
from fimo.pipeline.ranking_files import checked, require_same_training, scores_of_ranking
from fimo.pipeline.results_tables import ranking_rows, value_rows
from fimo.pipeline.scorers import AnyMethod, Scorer
from fimo.pipeline.uses import RankSettings, RemovalSettings
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.settings import require_whole
from fimo.problem import Problem
from fimo.ranking import MEAN, SELF, all_left_out, require_top

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
AnyMethods = Sequence[str | Preconditioner | AnyMethod | Scorer | Callable[[Problem], Any]]


@dataclass(frozen=True)
class Ranking:
    """All training rows ranked by some methods, for every test example.

    Attributes:
        rows: both ends of every ranking, `method,step,test,rank,train,score`: rank 1 has the highest score (where the
            loss is watched, the most helpful row), rank n the lowest; `step` is missing for methods that don't depend
            on further training.
        self_influence: `method,step,train,score`, the estimated rise of a row's own loss, times its weight where
            rows have weights, if it is left out.
        mean: `method,step,train,score`, the mean score over the test examples.
        model: a hash of the final model, objective, measurement and rows that it belongs to.
        training: optimizer and batches of the further training that was given, for people; None where none was.
    """

    rows: pd.DataFrame
    self_influence: pd.DataFrame
    mean: pd.DataFrame
    model: str
    training: str | None = None


@torch.enable_grad()
def rank(
    problem: Problem,
    methods: AnyMethods,
    training: FurtherTraining | None = None,
    top: int | None = None,
    amounts: Sequence[float] | None = None,
    device: str | torch.device = "auto",
) -> Ranking:
    """Rank all training rows for every test example, without further training.

    Scores are computed block by block and never held all at once.

    Args:
        problem: the final model, its objective and its rows; what it leaves out does not matter.
        methods: see `fimo.attribute`.
        training: the further training that the scores are to predict, for methods that depend on it.
        top: rows that are kept at each end of a ranking; None for 20, or all where there are fewer.
        amounts: of further training, in epochs, for methods that depend on it; None for the last evaluated.
        device: to compute on; `auto` takes a GPU where torch can use one.

    Returns:
        Tables. A method that can't be applied to the problem is missing, and a warning of the log says why.

    Raises:
        UserError: for an argument of another type, more rows than there are, amounts that the training does not come
            to, an unknown method; `MethodFailed` where no method can be applied.
    """
    require_problem("rank", problem)
    require_methods("rank", methods)
    require_training("rank", training, optional=True)
    amounts = amount_list(amounts)
    top = require_top(top, len(problem.train))
    if training is not None:
        training = replace(training, evaluate_every=RankSettings(top, amounts).steps(training, problem))
    rankings = of_each(
        methods_of(methods, training, problem),
        problem,
        device,
        lambda method, placed: method.rank(placed, top, training),
    )
    tables = ranking_rows(rankings), value_rows(rankings, SELF), value_rows(rankings, MEAN)
    return Ranking(*tables, short_hash(problem_config(problem)), None if training is None else training.described)


class Verification(removal.Verification):
    """What rankings predict beside what further training without the rows that they name does.

    `table` and `agreement` are data frames, see `fimo.comparison.removal.Verification`.
    """

    def figure(self, title: str = "") -> Figure:
        """The mean effect over the share of the rows that leave, a line for each method."""
        from fimo.report.removal import removal_figure

        return removal_figure(self, title)


@torch.enable_grad()
def verify(
    problem: Problem,
    methods: AnyMethods | Ranking,
    training: FurtherTraining,
    tests: int | Sequence[int] | None = None,
    shares: Sequence[float] = (0.01, 0.02, 0.05),
    seeds: int | Sequence[int] = 3,
    random: int = 10,
    end: str = removal.HELPFUL,
    folder: str | Path | None = None,
    device: str | torch.device = "auto",
) -> Verification:
    """Is a ranking true for this model? Train on without the rows that it names, and without random ones.

    Args:
        problem: the final model, its objective and its rows; what it leaves out does not matter.
        methods: see `fimo.attribute`; or a `Ranking` of this problem, of which the last amounts are taken.
        training: the further training; `mask` takes the place of the leave-out scheme `every_step`, which would add as
            many rows to every step as leave together.
        tests: test examples: so many from the first, or positions; None for five, or all where there are fewer.
        shares: of the training rows; so many from one end of a ranking leave together.
        seeds: see `fimo.further_train`.
        random: how many groups of random rows of each size, at least 2.
        end: of the rankings: `helpful` shows what a prediction rests on, `harmful` what makes it wrong.
        folder: see `fimo.further_train`.
        device: see `fimo.further_train`.

    Returns:
        `table` and `agreement`, see `fimo.comparison.removal.Verification`, and `figure()`.

    Raises:
        UserError: for an argument of another type, a share that is less than a row, all rows or more than the ranking
            keeps, a test example that is not there, fewer than two random groups, and a ranking of another final
            model, θ, objective or measurement, of other rows, or by methods that follow other further training;
            `MethodFailed` where no method can be applied.
    """
    require_problem("verify", problem)
    if not isinstance(methods, Ranking):
        require_methods("verify", methods)
    require_training("verify", training)
    seeds, folder = seed_list(seeds), folder_path(folder)
    settings, n = _settings(tests, shares, random, end), len(problem.train)
    sizes, index = settings.sizes(n), problem.test.index.tolist()
    places = [index.index(position) for position in settings.positions(index)]
    watched = replace(problem, test=problem.test.keep(torch.tensor(places)))
    training = settings.training(training, problem)
    if isinstance(methods, Ranking):
        if methods.model != short_hash(problem_config(problem)):
            raise UserError(
                "The ranking belongs to another final model, objective or measurement, or to other rows or parameters "
                "(θ): call fimo.rank with this problem."
            )
        scores = _of_ranking(methods, watched, training, max(sizes.values()), end)
    else:
        every_row = attribute(all_left_out(watched), methods, training, device)
        scores = {label: last_step(score) for label, score in every_row.items()}
    failed = removal.without_scores(scores, min(sizes.values()))
    scores = {label: score for label, score in scores.items() if label not in failed}
    require_scores(scores, failed)
    for note in failure_notes(failed):
        logger.warning(note)
    removed = removal.removals(scores, sizes, settings.random, settings.seed, end)
    grouped = replace(watched, left_out=Groups.of(removal.named_groups(removed), n))
    gold = further_train(grouped, training, seeds, folder, device)
    losses = [gold.isel(seed=number, drop=True) for number in range(gold.sizes["seed"])]
    verified = removal.verification(scores, removed, losses, end)
    return Verification(verified.table, verified.agreement, end)


def _of_ranking(
    ranking: Ranking, problem: Problem, training: FurtherTraining, most: int, end: str
) -> dict[str, xr.DataArray]:
    """The scores that a ranking keeps, where they are of this further training."""
    table = checked(ranking.rows, what := "The ranking")
    stepwise = table.loc[table["step"].notna(), "method"].unique() if "step" in table else []
    ranked = {label: ranking.training for label in stepwise if ranking.training is not None}
    require_same_training(table, ranked, training, problem, what)
    return scores_of_ranking(table, problem, most, what, end)


def _settings(tests: Any, shares: Any, random: Any, end: str) -> RemovalSettings:
    """What a caller asks for, numbers and arrays of any kind."""
    given, tests = np.asarray(shares), None if tests is None else np.asarray(tests)
    if tests is not None and tests.dtype.kind not in "iu" and tests.size:
        raise UserError(f"tests must be a number of test examples, or positions in the test split, found {tests}.")
    if not given.size or given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise UserError(f"shares must be shares of the training rows, as (0.01, 0.05), found {given.tolist()}.")
    require_whole("random", int(random) if isinstance(random, np.integer) else random, least=2)
    positions = None if tests is None else tests.tolist()
    return RemovalSettings(np.atleast_1d(given).astype(float).tolist(), positions, int(random), end=end)


__all__ = ["Ranking", "Verification", "rank", "verify"]
