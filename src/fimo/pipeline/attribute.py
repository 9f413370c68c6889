"""Stage 2: what each method of a run gives, its scores or its ranking of all training rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import xarray as xr

from fimo.elapsed import Elapsed
from fimo.errors import MethodFailed, UserError
from fimo.gradients.shared import Shared, shared_curvature
from fimo.memory import peak_memory
from fimo.pipeline import addresses, formats
from fimo.pipeline.artifacts import FAILURE, RANKED, SCORES, Artifact
from fimo.pipeline.failures import require_scores
from fimo.pipeline.groups_file import renew_groups, write_groups
from fimo.pipeline.methods import Scored
from fimo.pipeline.run import Run
from fimo.pipeline.scorers import AnyMethod
from fimo.problem import Problem
from fimo.ranking import require_top

logger = logging.getLogger(__name__)
Scores = dict[str, xr.DataArray]


@dataclass(frozen=True)
class Attribution:
    """What the methods of a run gave.

    Attributes:
        scores: by label; rankings in their place where these were asked for.
        failed: why a method has none, a sentence by label.
    """

    scores: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodFile:
    """A file that each method of a run has.

    Attributes:
        name: of the file.
        what: is in it, for the log.
        compute: what the method gives for a problem.
        to_dataset: what is written of it.
        from_dataset: the inverse.
        about: the problem, beside the file.
    """

    name: str
    what: str
    compute: Callable[[AnyMethod, Problem], Scored]
    to_dataset: Callable[[Any], xr.Dataset] = lambda dataset: dataset
    from_dataset: Callable[[xr.Dataset], Any] = lambda dataset: dataset
    about: Callable[[Artifact, Problem], None] = lambda artifact, problem: None


def attribute(run: Run) -> Attribution:
    """The scores of every method of the run for what is left out.

    A method that fails leaves the reason in place of its scores, and is tried again by the next call.

    Raises:
        MethodFailed: where all fail.
    """

    def groups(artifact: Artifact, problem: Problem) -> None:
        write_groups(artifact, problem.left_out, problem.train.index)

    def compute(method: AnyMethod, problem: Problem) -> Scored:
        return method.scores(problem, run.training, run.seeds.first)

    file = MethodFile(SCORES, "scores", compute, xr.DataArray.to_dataset, lambda dataset: dataset["score"], groups)
    return _of_all(run, file, partial(addresses.scores, run))


def rank(run: Run) -> Attribution:
    """Every method's ranking of all training rows, as `fimo.ranking` has it, for the run's test examples.

    Args:
        run: its `ranked` says how much is kept, and for which amounts of further training.

    Raises:
        UserError: where it asks for more rows than there are, or for other amounts; `MethodFailed` where all fail.
    """
    top = require_top(run.ranked.top, len(run.dataset.train))
    training = replace(run.training, evaluate_every=run.ranked.steps(run.training, run.problem))

    def compute(method: AnyMethod, problem: Problem) -> Scored:
        return method.rank(problem, top, training, run.seeds.first)

    file = MethodFile(RANKED, "ranking", compute)
    return _of_all(run, file, partial(addresses.ranking_of, run))


def _of_all(run: Run, file: MethodFile, address: Callable[[str], Artifact]) -> Attribution:
    typed = cache(lambda dtype: run.problem.in_precision(dtype))
    done = Attribution()
    with shared_curvature() as shared:
        for name, method in run.methods.items():
            artifact = address(name)
            with artifact.lock(file.name):
                if artifact.has(file.name):
                    logger.info("%s: %s found in %s", method.label, file.what, artifact.folder)
                    renew_groups(artifact, run)
                    done.scores[method.label] = file.from_dataset(formats.read_dataset(artifact.path(file.name)))
                else:
                    try:
                        done.scores[method.label] = _compute(file, artifact, method, typed(method.dtype), shared)
                    except MethodFailed as reason:
                        done.failed[method.label] = str(reason)
                        artifact.write(FAILURE, str(reason).encode())
                        logger.info("%s: no %s: %s", method.label, file.what, reason)
            for note in artifact.entry(file.name).get("notes", []):
                logger.info("%s: %s", method.label, note)
    require_scores(done.scores, done.failed)
    return done


def _compute(file: MethodFile, artifact: Artifact, method: AnyMethod, problem: Problem, shared: Shared) -> Any:
    start, before = Elapsed.now(), shared.saved
    with peak_memory(problem.device) as peak:
        scored = file.compute(method, problem)
    elapsed, saved = Elapsed.now() - start, shared.saved - before
    # What the method takes by itself, and how much of that another one did before.
    about: dict[str, Any] = {**(elapsed + saved).record(), "shared_seconds": round(saved.seconds, 3)}
    about |= {"start_bytes": peak.before, "peak_bytes": peak.bytes}
    about |= {**scored.diagnostics, "notes": list(scored.notes)}
    file.about(artifact, problem)
    artifact.write(file.name, formats.from_dataset(file.to_dataset(scored.values)), **about)
    artifact.remove(FAILURE)
    logger.info("%s: %s computed (%.2f s), in %s", method.label, file.what, elapsed.seconds, artifact.folder)
    return scored.values


def read_scores(run: Run) -> Attribution:
    """What `attribute` left of every method of the run.

    Raises:
        UserError: where it left nothing of one; `MethodFailed` where all failed.
    """
    done = Attribution()
    for name, method in run.methods.items():
        artifact = addresses.scores(run, name)
        if artifact.has(SCORES):
            done.scores[method.label] = formats.read_dataset(artifact.path(SCORES))["score"]
        elif artifact.has(FAILURE):
            done.failed[method.label] = artifact.path(FAILURE).read_text()
        else:
            raise UserError(f"{artifact.folder} has no scores: run experiments/attribute.py with the same options.")
    require_scores(done.scores, done.failed)
    return done
