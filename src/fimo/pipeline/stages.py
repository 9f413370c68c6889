"""The four stages: the final model, the methods' scores, further training, the comparison.

Each looks at its address first and computes only what isn't there; two processes never compute the same thing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytorch_lightning as pl
import xarray as xr
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from fimo.app import settings
from fimo.comparison.tables import Comparison
from fimo.comparison.tables import compare as compare_arrays
from fimo.effect import diverged
from fimo.errors import UserError
from fimo.memory import peak_memory
from fimo.pipeline import addresses, artifacts, formats, methods, seeds
from fimo.pipeline.artifacts import METRICS, MODEL, SCORES, seed_file
from fimo.pipeline.run import Question, say
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem

Scores = dict[str, xr.DataArray]


def train(asked: Question) -> None:
    """Stage 1, the final model."""
    artifact = addresses.final_artifact(asked.cfg)
    if artifact.has(MODEL):
        say(f"final model: found in {artifact.folder}")
    else:
        asked.problem  # noqa: B018  (made when it is first asked for)


def final_loss(cfg: DictConfig) -> float:
    """Mean loss of the final model on the test split."""
    return json.loads(addresses.final_artifact(cfg).path(METRICS).read_text())["test"]["loss"]


def attribute(asked: Question) -> Scores:
    """Stage 2, the scores of every chosen method, by label."""
    cfg, typed = asked.cfg, cache(lambda dtype: asked.problem.to(dtype=dtype))
    for name, label in settings.labels(cfg).items():
        artifact = addresses.scores_artifact(cfg, name)
        with artifact.lock(SCORES):
            if artifact.has(SCORES):
                say(f"{label}: scores found in {artifact.folder}")
            else:
                method, scores = methods.scoring(cfg, name, asked.problem)
                own = cfg.method[name].get("dtype")  # one method's goes before that of all
                dtype = method.dtype if own else settings.DTYPES.get(cfg.method.dtype, method.dtype)
                _compute_scores(artifact, label, method, scores, typed(dtype))
        for note in artifact.facts(SCORES).get("notes", []):
            say(f"{label}: {note}")
    return read_scores(cfg)


def _compute_scores(
    artifact: artifacts.Artifact,
    label: str,
    method: Preconditioner,
    scores: Callable[[Problem], xr.DataArray],
    problem: Problem,
) -> None:
    start = time.perf_counter()
    with peak_memory(problem.device) as peak:
        score = scores(problem)
    seconds = round(time.perf_counter() - start, 3)
    facts = {
        "seconds": seconds,
        "start_bytes": peak.before,
        "peak_bytes": peak.bytes,
        **method.facts,
        "notes": list(method.notes.values()),
    }
    artifact.write(SCORES, formats.from_dataset(score.to_dataset()), **facts)
    say(f"{label}: scores computed ({seconds:.2f} s), in {artifact.folder}")


def read_scores(cfg: DictConfig) -> Scores:
    """The scores of every chosen method, by label.

    Raises:
        UserError: where one has none.
    """
    scores = {}
    for name, label in settings.labels(cfg).items():
        artifact = addresses.scores_artifact(cfg, name)
        if not artifact.has(SCORES):
            raise UserError(f"{artifact.folder} has no scores: run experiments/attribute.py with the same options.")
        scores[label] = formats.open_dataset(artifact.path(SCORES))["score"].load()
    return scores


def further_train(asked: Question, logger: Logger | None = None, callbacks: Iterable[pl.Callback] = ()) -> None:
    """Stage 3, the gold standard: every seed of this job that isn't there, shared with whoever else computes it."""
    artifact, wanted = addresses.further_artifact(asked.cfg), settings.share(asked.cfg)
    missing = seeds.missing(artifact, wanted)
    say(f"further training: {len(wanted) - len(missing)} of {len(wanted)} seeds found in {artifact.folder}")
    while missing:
        seeds.compute(asked, missing, logger, callbacks)
        missing = seeds.missing(artifact, missing)
        if missing:  # another process is at these: wait for the first, and take it over if that process died
            say(f"further training: waiting for seeds that another process computes: {missing}")
            with artifact.lock(seed_file(missing[0])):
                pass


def finished_seeds(cfg: DictConfig) -> dict[int, xr.Dataset]:
    """Losses of the seeds that are there, of those asked for."""
    gold = addresses.further_artifact(cfg)
    there = [seed for seed in settings.seeds(cfg) if gold.has(seed_file(seed))]
    return {seed: formats.open_dataset(gold.path(seed_file(seed))) for seed in there}


def diverged_runs(losses: Mapping[int, xr.Dataset]) -> list[str]:
    """`seed 3, left-out 17` for each run that diverged."""
    return [f"seed {seed}, {run}" for seed, dataset in losses.items() for run in diverged(dataset)]


def compare(asked: Question) -> tuple[Comparison, Scores, dict[int, xr.Dataset]]:
    """Stage 4: hold what the stages before have left against each other.

    Returns:
        The comparison, the scores by label, and the losses of the seeds that were compared.

    Raises:
        UserError: where scores or all seeds are missing, or belong to other examples than are asked for.
    """
    cfg = asked.cfg
    scores = read_scores(cfg)
    losses, wanted = finished_seeds(cfg), settings.seeds(cfg)
    if not losses:
        folder = addresses.further_artifact(cfg).folder
        raise UserError(f"{folder} has no seeds: run experiments/further_train.py with the same options.")
    if len(losses) < len(wanted):
        say(f"comparison: with the {len(losses)} of {len(wanted)} seeds that are there")
    _check_examples(asked, scores, losses)
    return compare_arrays(scores, list(losses.values())), scores, losses


def _check_examples(asked: Question, scores: Scores, losses: Mapping[int, xr.Dataset]) -> None:
    """Refuse files of other examples than the data have now, and seeds that were evaluated after other steps."""
    cfg, data, steps = asked.cfg, asked.data, next(iter(losses.values()))["step"].values.tolist()
    examples = {"test": data.test.index.tolist(), "left_out": data.train.index[data.left_out].tolist()}
    gold = addresses.further_artifact(cfg).folder
    files: dict[Path, xr.Dataset | xr.DataArray] = {gold / seed_file(seed): found for seed, found in losses.items()}
    for name, label in settings.labels(cfg).items():
        files[addresses.scores_artifact(cfg, name).folder / SCORES] = scores[label]
    for path, found in files.items():
        wanted = {**examples, "step": steps} if isinstance(found, xr.Dataset) else examples
        for axis, index in wanted.items():
            if axis not in found.coords or found[axis].values.tolist() != index:
                raise UserError(
                    f"{path} must have the axis {axis} with {len(index)} entries from {index[0]} to {index[-1]}, as "
                    "the data and the other seeds have it, found another: remove the file, and it is computed again."
                )


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Put the seconds spent inside into `seconds`."""
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 2)


def exit_code(diverged: list[str]) -> int:
    """3 where runs diverged, and say which; else 0."""
    if diverged:
        more = f" and {len(diverged) - 5} more (a smaller optimizer.lr may help)" if len(diverged) > 5 else ""
        say(f"further training diverged and was left out of the comparison: {'; '.join(diverged[:5])}{more}")
    return 3 if diverged else 0
