"""The four stages: the final model, the methods' scores, further training, the comparison.

Each looks at its address first and computes only what isn't there; two processes never compute the same thing.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import xarray as xr

from fimo.effect import diverged
from fimo.errors import MethodFailed, UserError
from fimo.memory import peak_memory
from fimo.pipeline import addresses, formats
from fimo.pipeline.artifacts import FAILURE, METRICS, MODEL, SCORES, Artifact, seed_file
from fimo.pipeline.failures import failure_notes, require_scores
from fimo.pipeline.groups_file import write_groups
from fimo.pipeline.run import Run
from fimo.pipeline.scorers import selected
from fimo.pipeline.seed_files import missing_seeds

if TYPE_CHECKING:
    from fimo.pipeline.scorers import AnyMethod
    from fimo.problem import Problem

logger = logging.getLogger(__name__)
Scores = dict[str, xr.DataArray]


def train(run: Run) -> None:
    """Stage 1, the final model."""
    artifact = addresses.final_model(run)
    if artifact.has(MODEL):
        logger.info("final model: found in %s", artifact.folder)
    else:
        run.problem  # noqa: B018  (made when it is first needed)


def final_loss(run: Run) -> float:
    """Mean loss of the final model on the test split."""
    return json.loads(addresses.final_model(run).path(METRICS).read_text())["test"]["loss"]


@dataclass(frozen=True)
class Attribution:
    """What the methods of a run gave.

    Attributes:
        scores: by label.
        failed: why a method has no scores, a sentence by label.
    """

    scores: Scores = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def attribute(run: Run) -> Attribution:
    """Stage 2, the scores of every method of the run.

    A method that fails leaves the reason in place of its scores, and is tried again by the next call.

    Raises:
        MethodFailed: where all fail.
    """
    typed = cache(lambda dtype: run.problem.in_precision(dtype))
    done = Attribution()
    for name, method in run.methods.items():
        artifact = addresses.scores(run, name)
        with artifact.lock(SCORES):
            if artifact.has(SCORES):
                logger.info("%s: scores found in %s", method.label, artifact.folder)
                done.scores[method.label] = _read_scores(artifact)
            else:
                try:
                    done.scores[method.label] = _compute_scores(run, artifact, method, typed(method.dtype))
                except MethodFailed as reason:
                    done.failed[method.label] = str(reason)
                    artifact.write(FAILURE, str(reason).encode())
                    logger.info("%s: no scores: %s", method.label, reason)
        for note in artifact.entry(SCORES).get("notes", []):
            logger.info("%s: %s", method.label, note)
    require_scores(done.scores, done.failed)
    return done


def _compute_scores(run: Run, artifact: Artifact, method: AnyMethod, problem: Problem) -> xr.DataArray:
    start = time.perf_counter()
    with peak_memory(problem.device) as peak:
        scored = method.scores(problem, run.training, run.seeds.first)
    seconds = round(time.perf_counter() - start, 3)
    about: dict[str, Any] = {"seconds": seconds, "start_bytes": peak.before, "peak_bytes": peak.bytes}
    about |= {**scored.diagnostics, "notes": list(scored.notes)}
    write_groups(artifact, problem.left_out, problem.train.index)
    artifact.write(SCORES, formats.from_dataset(scored.values.to_dataset()), **about)
    artifact.remove(FAILURE)
    logger.info("%s: scores computed (%.2f s), in %s", method.label, seconds, artifact.folder)
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
            done.scores[method.label] = _read_scores(artifact)
        elif artifact.has(FAILURE):
            done.failed[method.label] = artifact.path(FAILURE).read_text()
        else:
            raise UserError(f"{artifact.folder} has no scores: run experiments/attribute.py with the same options.")
    require_scores(done.scores, done.failed)
    return done


def _read_scores(artifact: Artifact) -> xr.DataArray:
    return formats.read_dataset(artifact.path(SCORES))["score"]


def further_train(run: Run, lightning_logger: Any = None, callbacks: Iterable[Any] = ()) -> None:
    """Stage 3, the gold standard: every seed of this job that isn't there, shared with whoever else computes it.

    Args:
        run: the run.
        lightning_logger: of the live curves, or None.
        callbacks: Lightning callbacks that follow the seeds of this process.
    """
    artifact, wanted = addresses.further_training(run), run.seeds.share
    missing = missing_seeds(artifact, wanted)
    logger.info(
        "further training: %d of %d seeds found in %s", len(wanted) - len(missing), len(wanted), artifact.folder
    )
    while missing:
        from fimo.pipeline.seeds import compute_seeds  # Lightning, which finished seeds don't need

        compute_seeds(run, missing, lightning_logger, callbacks)
        missing = missing_seeds(artifact, missing)
        if missing:  # another process is at these: wait for the first, and take it over if that process died
            logger.info("further training: waiting for seeds that another process computes: %s", missing)
            with artifact.lock(seed_file(missing[0])):
                pass


def diverged_runs(losses: Mapping[int, xr.Dataset], label: Callable[[int], str] = str) -> list[str]:
    """`seed 3, left-out 17` for each run that diverged.

    Args:
        losses: of each seed.
        label: what a row or group on the axis `left_out` is called.
    """
    return [f"seed {seed}, {run}" for seed, dataset in losses.items() for run in diverged(dataset, label)]


def check_comparable(run: Run, scores: Scores, losses: Mapping[int, xr.Dataset]) -> None:
    """Refuse files of other examples than the data have now, and seeds that were evaluated after other steps.

    Args:
        run: the run.
        scores: of its methods, by label.
        losses: of its finished seeds.

    Raises:
        UserError: naming the file; also where there is no seed at all.
    """
    gold = addresses.further_training(run).folder
    if not losses:
        raise UserError(f"{gold} has no seeds: run experiments/further_train.py with the same options.")
    if len(losses) < len(run.seeds.all):
        logger.info("comparison: with the %d of %d seeds that are there", len(losses), len(run.seeds.all))
    examples, steps = run.examples, next(iter(losses.values()))["step"].values.tolist()
    files: dict[Path, xr.Dataset | xr.DataArray] = {gold / seed_file(seed): one for seed, one in losses.items()}
    for name, method in run.methods.items():
        if method.label in scores:
            files[addresses.scores(run, name).folder / SCORES] = scores[method.label]
    for path, stored in files.items():
        expected = {**examples, "step": steps} if isinstance(stored, xr.Dataset) else examples
        if isinstance(stored, xr.DataArray) and "step" in stored.dims:
            selected(stored, {"step": steps}, f"The scores in {path}")
        for axis, index in expected.items():
            if axis not in stored.coords or stored[axis].values.tolist() != index:
                raise UserError(
                    f"{path} must have the axis {axis} with {len(index)} entries from {index[0]} to {index[-1]}, as "
                    "the data and the other seeds have it, found another: remove the file, and it is computed again."
                )


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Measure the seconds spent inside.

    Args:
        seconds: by stage; one is added.
        stage: its name.
    """
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 2)


def exit_code(diverged: Sequence[str], failed: Mapping[str, str] = MappingProxyType({})) -> int:
    """3 where runs diverged or methods failed, with messages that name them; else 0.

    Args:
        diverged: runs of further training.
        failed: why a method has no scores, by label.
    """
    for note in failure_notes(failed):
        logger.info(note)
    if not diverged:
        return 3 if failed else 0
    more = f" and {len(diverged) - 5} more (a smaller optimizer.lr may help)" if len(diverged) > 5 else ""
    logger.info("further training diverged and was left out of the comparison: %s%s", "; ".join(diverged[:5]), more)
    return 3
