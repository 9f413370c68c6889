"""Arguments of the stages from Python: what stands in the wrong place is said in a sentence before any work."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import nn

from fimo.api.addresses import problem_address
from fimo.errors import UserError
from fimo.further_training.settings import FurtherTraining
from fimo.pipeline.scorers import AXES, selected
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem

logger = logging.getLogger(__name__)

# How each stage is called; what every error ends with.
CALLS = {
    "further_train": "problem, training",
    "attribute": "problem, methods, training",
    "rank": "problem, methods, training",
    "verify": "problem, methods, training",
    "compare": "scores, gold",
}
# Attributes of results: the groups that are left out, what is watched at test examples, the hash of the final model and
# its rows, and the further training, of a gold standard and of scores that follow it.
GROUPS, WATCHED, PROBLEM, TRAINING = "groups", "watched", "problem", "training"
# What `methods` is not, though it can be gone through.
NUMBERS = (torch.Tensor, np.ndarray, xr.DataArray, bytes)
RESULTS = (Mapping, pd.DataFrame)


def require_problem(stage: str, problem: object) -> None:
    """Refuse what is no problem.

    Args:
        stage: which is called, `rank`.
        problem: what was given for it.

    Raises:
        UserError: where it is something else.
    """
    if not isinstance(problem, Problem):
        raise _wrong(stage, "problem", "a fimo.Problem", problem)


def require_training(stage: str, training: object, optional: bool = False) -> None:
    """Refuse what is no further training.

    Args:
        stage: which is called.
        training: what was given for it.
        optional: whether None is allowed.

    Raises:
        UserError: where it is something else.
    """
    if not isinstance(training, FurtherTraining) and not (optional and training is None):
        raise _wrong(stage, "training", "a fimo.FurtherTraining", training)


def require_methods(stage: str, methods: object) -> None:
    """Refuse what can be neither a method nor several; the methods themselves are looked at one by one later.

    Args:
        stage: which is called.
        methods: what was given for them.

    Raises:
        UserError: where it is a problem, a network, numbers or results.
    """
    if isinstance(methods, RESULTS):
        raise UserError(
            'methods must be names or objects, as in ["cg", "trak"] (fimo.verify takes what fimo.rank returns, too), '
            f"found a {type(methods).__name__}: call fimo.{stage}({CALLS[stage]})."
        )
    is_network = isinstance(methods, nn.Module) and not hasattr(methods, "scores")
    is_several = isinstance(methods, Iterable) and not isinstance(methods, NUMBERS)
    is_one = isinstance(methods, Preconditioner) or callable(getattr(methods, "scores", methods))
    is_empty = isinstance(methods, (list, tuple, set, str)) and not methods
    if is_network or is_empty or not (is_one or is_several):
        raise _wrong(stage, "methods", 'names or objects, as in ["cg", "trak"]', methods)


def require_losses_and_scores(scores: object, gold: object) -> dict[str, xr.DataArray]:
    """Refuse what `fimo.compare` can't hold against each other.

    Args:
        scores: what was given for the scores.
        gold: what was given for the gold standard.

    Returns:
        The scores by label, with the gold standard's examples in its order.

    Raises:
        UserError: where it is something else.
    """
    if not isinstance(gold, xr.Dataset) or "seed" not in gold.dims:
        raise _wrong("compare", "gold", "what fimo.further_train returns", gold)
    if not isinstance(scores, Mapping) or isinstance(scores, xr.Dataset):
        raise _wrong("compare", "scores", "what fimo.attribute returns, a mapping of labels to arrays", scores)
    for label, score in scores.items():
        axes = set(score.dims) - {"step"} if isinstance(score, xr.DataArray) else {}
        if axes != {"test", "left_out"} or score.dtype.kind not in "fiu":
            what = "real numbers in an xarray.DataArray [test, left_out] or [step, test, left_out], such as "
            what += "xr.DataArray(numbers, [gold.test, gold.left_out])"
            raise _wrong("compare", f"scores[{label!r}]", what, score)
        if bool(np.isinf(score).any()):
            raise UserError(f"The scores of {label} must be finite, or NaN where there is none, found an infinite one.")
        if missing := int(score.isnull().any(set(score.dims) - {"test"}).sum()):
            logger.warning(
                "The scores of %s have no number for some left-out examples at %d of the test examples: these take no "
                "part in its means.", label, missing,
            )  # fmt: skip
    if not scores:
        raise _wrong("compare", "scores", "the scores of one method or more", scores)
    left_out = gold["left_out"].to_index()
    if len(twice := left_out[left_out.duplicated()]):
        raise UserError(f"What is compared must be left out once each, found training row {twice[0]} twice.")
    for label, score in scores.items():
        _require_same_problem(label, score, gold)
    return {label: _in_order(label, score, gold) for label, score in scores.items()}


def _in_order(label: str, score: xr.DataArray, gold: xr.Dataset) -> xr.DataArray:
    """Scores of the same examples as the gold standard's, in its order; axes without labels are in it."""
    wanted = {axis: gold[axis].values.tolist() for axis in AXES if axis in score.coords}
    return selected(score, wanted, f"The scores of {label}")


def _require_same_problem(label: str, score: xr.DataArray, gold: xr.Dataset) -> None:
    """Refuse scores of other examples than the gold standard's, and those that say that they are of another problem."""
    what = f"The scores of {label} and the gold standard must"
    for axis in AXES:
        if sorted(score[axis].values.tolist()) != sorted(gold[axis].values.tolist()):
            raise UserError(f"{what} be about the same {axis} examples.")
    for key, shared in ((GROUPS, "leave out the same groups"), (WATCHED, "watch the same measurement")):
        if "notes" in score.attrs and score.attrs.get(key) != gold.attrs.get(key):  # others say nothing of it
            raise UserError(f"{what} {shared}: they are of two problems.")
    both = {
        key: (score.attrs[key], gold.attrs[key]) for key in (PROBLEM, TRAINING) if key in {*score.attrs} & {*gold.attrs}
    }
    for key, (own, measured) in both.items():
        if own != measured:
            shared = "final model, the same parameters (θ) and the same rows" if key == PROBLEM else "further training"
            raise UserError(
                f"{what} be of the same {shared}, found {own} and {measured}: call fimo.attribute and "
                "fimo.further_train with one problem and one training."
            )


def about(problem: Problem) -> dict[str, str]:
    """What results say of the problem that they are of, beside their axes.

    Args:
        problem: the question.

    Returns:
        Attributes: a hash of the final model and its rows; the rows of each group, and the measurement, where it has
        these.
    """
    groups = problem.left_out.described(problem.train.index)
    of_groups = {} if groups is None else {GROUPS: json.dumps([group["rows"] for group in groups])}
    watched = {} if problem.measurement is None else {WATCHED: repr(problem.measurement)}
    return {PROBLEM: problem_address(problem)} | of_groups | watched


def of_training(training: FurtherTraining | None, values: xr.DataArray | xr.Dataset) -> dict[str, str]:
    """What results that depend on further training say of it.

    Args:
        training: that was given, or None.
        values: the results, which have an axis for the amount where they depend on it.
    """
    return {} if training is None or "step" not in values.dims else {TRAINING: training.described}


def seed_list(seeds: Any) -> list[int]:
    """The seeds that a caller asks for: so many from 0, or those that are listed.

    Raises:
        UserError: where they are no whole numbers, one stands twice, or there is none.
    """
    is_count = isinstance(seeds, (int, np.integer)) and not isinstance(seeds, bool)
    listed = list(seeds) if isinstance(seeds, Iterable) and not isinstance(seeds, (str, bytes)) else None
    values = np.arange(seeds) if is_count else None if listed is None else np.asarray(listed)
    if values is None or values.dtype.kind not in "iu" or values.ndim != 1 or not len(values):
        wanted = None
    else:
        wanted = [int(seed) for seed in values]
    if wanted is None or len(set(wanted)) < len(wanted) or min(wanted) < 0:
        raise UserError(
            "seeds must be a number of seeds of at least 1, or a list of different whole numbers of at least 0, found "
            f"{seeds!r}."
        )
    return wanted


def amount_list(amounts: Any) -> list[float] | None:
    """Amounts of further training as a list; None for the last one.

    Raises:
        UserError: where they are no numbers.
    """
    values = np.atleast_1d(np.asarray(0.0 if amounts is None else amounts))
    if values.dtype.kind not in "iuf" or values.ndim > 1:
        raise UserError(f"amounts must be a list of epochs of further training, as [1, 10], found {amounts!r}.")
    return None if amounts is None else values.astype(float).tolist()


def folder_path(folder: Any) -> Path | None:
    """The folder as a path; None for none.

    Raises:
        UserError: where it can't be one.
    """
    if folder is not None and not isinstance(folder, (str, os.PathLike)):
        raise UserError(f"folder must be the path of a folder, or None for none, found {_named(folder)}.")
    return None if folder is None else Path(folder)


def _wrong(stage: str, name: str, expected: str, given: object) -> UserError:
    return UserError(f"{name} must be {expected}, found {_named(given)}: call fimo.{stage}({CALLS[stage]}).")


def _named(given: object) -> str:
    """A short name of what was found: its type, and its value where that is short."""
    if given is None:
        return "None"
    if isinstance(given, type):
        return f"the class {given.__name__}"
    kind = type(given)
    own = f"fimo.{kind.__name__}" if kind.__module__.partition(".")[0] == "fimo" else kind.__name__
    value = f" {given!r}" if isinstance(given, (str, int, float, list, tuple)) and len(repr(given)) <= 60 else ""
    return f"{'an' if own[0] in 'aeiouAEIOU' else 'a'} {own}{value}"
