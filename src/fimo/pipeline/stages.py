"""The stages of a run beside the methods' own (see `fimo.pipeline.attribute`): the final model, further training.

Each looks at its address first and computes only what isn't there; two processes never compute the same thing.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import xarray as xr

from fimo.effect import diverged
from fimo.errors import UserError, some_of
from fimo.pipeline import addresses
from fimo.pipeline.artifacts import METRICS, MODEL, SCORES, seed_file
from fimo.pipeline.attribute import Scores
from fimo.pipeline.failures import failure_notes
from fimo.pipeline.groups_file import renew_groups
from fimo.pipeline.run import Run
from fimo.pipeline.scorers import selected
from fimo.pipeline.seed_files import missing_seeds

logger = logging.getLogger(__name__)


def train(run: Run) -> None:
    """Stage 1, the final model."""
    artifact = addresses.final_model(run)
    if artifact.has(MODEL) and artifact.has(METRICS):
        artifact.path(METRICS)  # refuses one that was changed
        logger.info("final model: found in %s", artifact.folder)
    else:
        run.problem  # noqa: B018  (made when it is first needed)


def final_loss(run: Run) -> float:
    """Mean loss of the final model on the test split."""
    return json.loads(addresses.final_model(run).path(METRICS).read_text())["test"]["loss"]


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
    renew_groups(artifact, run)
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
    runs = some_of(diverged, "; ")
    remedy = "a smaller learning rate may help: optimizer.lr, or final.lr of what is re-trained"
    logger.info("further training diverged and was left out of the comparison: %s (%s)", runs, remedy)
    return 3
