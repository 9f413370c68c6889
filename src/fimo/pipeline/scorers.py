"""Methods that are no preconditioner: a function or an object that gives scores by whatever means."""

from __future__ import annotations

import reprlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
import xarray as xr

from fimo.errors import MethodFailed, UserError, short
from fimo.further_training.settings import FurtherTraining
from fimo.models.copies import copied
from fimo.pipeline.methods import Method, Scored
from fimo.problem import Problem
from fimo.ranking import all_left_out, rank_scores

AXES = ("test", "left_out")


class Scorer(Protocol):
    """What gives scores by whatever means: features, another library, scores from elsewhere.

    Attributes:
        label: the method's name in legends and files.
    """

    label: str

    def scores(self, problem: Problem) -> Any:
        """The scores of all left-out examples for all test examples.

        Args:
            problem: the final model, a copy that may be changed, its rows and what is left out.

        Returns:
            `[test, left_out]`, an array, tensor or DataArray; positive where leaving the example out raises what is
            measured at the test example.
        """
        ...


@dataclass(frozen=True)
class ScorerMethod:
    """A method of a run that is a scorer; what stages ask of a `Method`, it answers too.

    Attributes:
        name: under which it was chosen.
        label: in legends and files.
        scorer: a `Scorer`, or a function of a problem.
        dtype: that the problem is handed over in.
    """

    name: str
    label: str
    scorer: Scorer | Callable[[Problem], Any]
    dtype: torch.dtype = torch.float64
    follows_training: ClassVar[bool] = False
    trajectory: ClassVar[bool] = False

    @property
    def version(self) -> int:
        """The scorer's, where it has one: raised when its numbers change."""
        version = getattr(self.scorer, "version", 1)
        return version if isinstance(version, int) else 1  # an own object may call something else so

    def scores(self, problem: Problem, training: FurtherTraining | None = None, seed: int = 0) -> Scored:
        """What the scorer gives, checked and labelled.

        Args:
            problem: in the method's dtype, or in another where its network takes no other.
            training: the further training, for the steps of scores that depend on it.
            seed: not used.

        Raises:
            UserError: what the scorer raises of it; `MethodFailed` where it raises something else, or what it gives is
                not of the form `[test, left_out]` and finite.
        """
        function: Any = getattr(self.scorer, "scores", self.scorer)
        try:
            given = function(replace(problem, network=copied(problem.network)))
        except UserError:
            raise
        except Exception as reason:  # whatever an own function raises, the other methods have scores
            kind = type(reason).__name__
            raise MethodFailed(f"{self.label} raised {kind}: {short(reason)} ({_place(reason)}).") from reason
        steps = training.evaluation_steps(problem) if training else None
        return Scored(self._labelled(given, problem, steps), {}, [])

    def rank(self, problem: Problem, top: int, training: FurtherTraining | None = None, seed: int = 0) -> Scored:
        """All training rows ranked for every test example, see `fimo.ranking.rank_scores`.

        Args:
            problem: see `scores`; what it leaves out does not matter.
            top: rows that are kept at each end of a ranking.
            training: see `scores`.
            seed: not used.

        Raises:
            UserError: as `scores`.
        """
        scored = self.scores(all_left_out(problem), training, seed)
        return replace(scored, values=rank_scores(scored.values, problem, top))

    def _labelled(self, given: Any, problem: Problem, steps: Sequence[int] | None) -> xr.DataArray:
        coordinates = {axis: index.tolist() for axis, index in problem.coordinates.items()}
        what = f"The scores of {self.label}"
        stepwise = isinstance(given, xr.DataArray) and "step" in given.coords and {*given.dims} == {"step", *AXES}
        if stepwise or isinstance(given, xr.DataArray) and {*given.dims} == {*AXES}:
            wanted = {"step": given["step"].values.tolist() if steps is None else list(steps)} if stepwise else {}
            coordinates = {**wanted, **coordinates}
            labelled = {axis: index for axis, index in coordinates.items() if axis in given.coords}
            given = selected(given, labelled, what).transpose(*coordinates)
        values, shape = _as_array(given, what), tuple(map(len, coordinates.values()))
        if values.shape != shape:
            axes = ", ".join(coordinates)
            raise MethodFailed(f"{what} must be of shape [{axes}] = {list(shape)}, found {list(values.shape)}.")
        if len(wrong := np.argwhere(~np.isfinite(values))):
            first = zip(coordinates.items(), wrong[0], strict=True)
            raise MethodFailed(
                f"{what} must be finite numbers, found {len(wrong)} of {values.size} missing or not finite, the first "
                f"at {', '.join(f'{axis} {index[place]}' for (axis, index), place in first)}."
            )
        labels = {axis: np.asarray(index) for axis, index in coordinates.items()}
        return xr.DataArray(values, labels, list(labels), name="score")


AnyMethod = Method | ScorerMethod


def scorer_method(
    scorer: Any, name: str | None = None, label: str | None = None, dtype: torch.dtype | None = None
) -> ScorerMethod:
    """A method of a function or an object with `scores`.

    Args:
        scorer: the function or the object.
        name: under which it was chosen; None for its label.
        label: None for the scorer's own, or the name of the function or class.
        dtype: that it wants the problem in; None for its own `dtype`, or float64.

    Raises:
        UserError: where it is neither.
    """
    if isinstance(scorer, type) or not callable(getattr(scorer, "scores", scorer)):
        raise UserError(
            "A method must be a name, a Preconditioner, a Method, a function scores(problem) -> [test, left_out] or an "
            f"object with such a method, found {reprlib.repr(scorer)}."
        )
    label, own_dtype = str(label or getattr(scorer, "label", None) or _own_name(scorer)), getattr(scorer, "dtype", None)
    wanted = dtype or (own_dtype if isinstance(own_dtype, torch.dtype) else torch.float64)
    return ScorerMethod(name or label, label, scorer, wanted)


def selected(scores: xr.DataArray, coordinates: Mapping[str, Sequence[int]], what: str) -> xr.DataArray:
    """Scores of the examples that are wanted, in their order, chosen by the integers that label them.

    Args:
        scores: with labels on its axes, in any order and of more examples perhaps.
        coordinates: the labels that are wanted, by axis.
        what: the scores are, for errors.

    Raises:
        UserError: where labels are not unique, or some are missing.
    """
    for axis, wanted in coordinates.items():
        index = scores.get_index(axis)
        if not index.is_unique:
            raise UserError(f"{what} must have each {axis} once, found {index[index.duplicated()][0]} twice.")
        if missing := [label for label in wanted if label not in index]:
            raise UserError(
                f"{what} must cover every {axis} of this run ({len(wanted)}, from {wanted[0]} to {wanted[-1]}), found "
                f"{len(missing)} of them missing, the first {axis} {missing[0]}."
            )
    return scores.sel({axis: list(wanted) for axis, wanted in coordinates.items()})


def _as_array(given: Any, what: str) -> np.ndarray:
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
        given = given.float() if given.dtype == torch.bfloat16 else given  # which numpy does not know
    try:
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as reason:
        kind = type(given).__name__
        raise MethodFailed(f"{what} must be an array, tensor or DataArray of numbers, found a {kind}.") from reason


def _own_name(scorer: Any) -> str:
    function = scorer.func if isinstance(scorer, partial) else scorer
    return getattr(function, "__name__", type(scorer).__name__)


def _place(reason: BaseException) -> str:
    """Where the innermost line of code outside installed packages is: the user's own, where there is one."""
    frames = traceback.extract_tb(reason.__traceback__)[1:]
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}" if own else "no place is known"
