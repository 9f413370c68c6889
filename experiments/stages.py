"""The four stages: the final model, the methods' scores, further training, the comparison.

Each looks at its address first and computes only what isn't there; two processes never compute the same thing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import pytorch_lightning as pl
import torch
import xarray as xr
from filelock import BaseFileLock
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger
from torch import nn

from fimo import artifacts
from experiments import settings
from fimo.artifacts import METRICS, MODEL, SCORES, seed_file
from fimo.attribution import attribute as attribute_problem
from fimo.compare.tables import Comparison
from fimo.compare.tables import compare as compare_arrays
from fimo.data.base import Data
from fimo.effect import diverged
from fimo.errors import UserError
from fimo.further_training.order import Order
from fimo.further_training.sweep import further_train as further_train_problem
from fimo.models.checkpoint import check_outputs, load_weights
from fimo.models.objective import OBJECTIVES
from fimo.models.training import FinalTraining, metrics, train_final
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem

Scores = dict[str, xr.DataArray]


def say(text: str) -> None:
    """Tell the user, at once."""
    print(text, flush=True)


def train(cfg: DictConfig, problem: Callable[[], Problem]) -> None:
    """Stage 1, the final model."""
    artifact = settings.final_artifact(cfg)
    if artifact.has(MODEL):
        say(f"final model: found in {artifact.folder}")
    else:
        problem()


def data_of(cfg: DictConfig) -> Data:
    """The chosen rows."""
    return instantiate(cfg.data, _convert_="all").load()


def problem_of(cfg: DictConfig) -> Problem:
    """Data and final model, which is trained (or taken from `final.checkpoint`) where it isn't there."""
    data = data_of(cfg)
    torch.manual_seed(cfg.seed)  # nothing is drawn before the network: the final model's randomness is a recipe
    network: nn.Module = instantiate(cfg.model, inputs=data.inputs, outputs=data.outputs, _convert_="all")
    check_outputs(network, data.train.keep(slice(0, 2)).inputs, data.outputs)
    artifact = settings.final_artifact(cfg)
    with artifact.lock(MODEL):
        if artifact.has(MODEL):
            load_weights(network, artifacts.read_weights(artifact.path(MODEL)), artifact.folder)
        else:
            _make_final(cfg, data, network, artifact)
    network.eval().requires_grad_()  # all parameters are θ, frozen ones too
    asked = Problem(network, OBJECTIVES[cfg.data.task], data.train, data.test, data.left_out)
    return asked.to(settings.device(cfg))


def _make_final(cfg: DictConfig, data: Data, network: nn.Module, artifact: artifacts.Artifact) -> None:
    start = time.perf_counter()
    objective = OBJECTIVES[cfg.data.task]
    facts: dict[str, object] = {}
    if cfg.final.checkpoint is not None:
        say(f"final model: taken from {cfg.final.checkpoint}")
        load_weights(network, artifacts.read_weights(cfg.final.checkpoint), cfg.final.checkpoint)
    elif cfg.final.epochs == 0:
        say("final model: the network as it is, nothing is trained (final.epochs=0)")
    else:
        say(f"final model: training, {cfg.final.epochs} epochs")
        facts = _trained(cfg, data, network)
    found = {
        split: metrics(network, objective, rows) for split, rows in (("train", data.train), ("test", data.test_all))
    }
    seconds = round(time.perf_counter() - start, 2)
    artifact.write(METRICS, json.dumps({**found, **facts}, indent=1).encode(), seconds=seconds)
    artifact.write(MODEL, artifacts.from_weights(network.state_dict()), seconds=seconds)
    told = ", ".join(f"{name} {value:.4g}" for name, value in found["test"].items())
    say(f"final model: test {told} ({seconds:.0f} s), in {artifact.folder}")


def _trained(cfg: DictConfig, data: Data, network: nn.Module) -> dict[str, object]:
    """Train the final model in place; what there is to tell of it beside its metrics."""
    final = cfg.final
    augment = instantiate(final.augment, _convert_="all")
    judge = data.test_all if final.keep == "best" else None
    chosen = (final.optimizer, final.lr, final.weight_decay, final.clip, augment, judge)
    module = FinalTraining(network, OBJECTIVES[cfg.data.task], *chosen)
    order = Order(len(data.train), final.batch_size, cfg.seed)
    train_final(module, data.train, order, final.epochs, settings.device(cfg))
    network.cpu()
    return {} if judge is None else {"kept": {"epoch": module.kept_epoch, "of": final.epochs, "by": "the test split"}}


def attribute(cfg: DictConfig, problem: Callable[[], Problem]) -> Scores:
    """Stage 2, the scores of every chosen method, by label."""
    typed = cache(lambda dtype: problem().to(dtype=dtype))
    for name, label in settings.labels(cfg).items():
        artifact = settings.scores_artifact(cfg, name)
        with artifact.lock(SCORES):
            if artifact.has(SCORES):
                say(f"{label}: scores found in {artifact.folder}")
            else:
                method: Preconditioner = instantiate(cfg.method[name], _convert_="all")
                dtype = settings.DTYPES.get(cfg.method.dtype, method.dtype)
                _compute_scores(artifact, label, typed(dtype), method, cfg.method.curvature_rows)
        for note in artifact.facts(SCORES)["notes"]:
            say(f"{label}: {note}")
    return read_scores(cfg)


def _compute_scores(
    artifact: artifacts.Artifact, label: str, problem: Problem, method: Preconditioner, curvature_rows: int | None
) -> None:
    start = time.perf_counter()
    score = attribute_problem(problem, method, curvature_rows=curvature_rows)
    seconds = round(time.perf_counter() - start, 3)
    facts = {"seconds": seconds, **method.facts, "notes": list(method.notes.values())}
    artifact.write(SCORES, artifacts.from_dataset(score.to_dataset()), **facts)
    say(f"{label}: scores computed ({seconds:.2f} s), in {artifact.folder}")


def read_scores(cfg: DictConfig) -> Scores:
    """The scores of every chosen method, by label.

    Raises:
        UserError: where one has none.
    """
    scores = {}
    for name, label in settings.labels(cfg).items():
        artifact = settings.scores_artifact(cfg, name)
        if not artifact.has(SCORES):
            raise UserError(f"{artifact.folder} has no scores: run experiments/attribute.py with the same options.")
        scores[label] = artifacts.open_dataset(artifact.path(SCORES))["score"].load()
    return scores


def further_train(
    cfg: DictConfig,
    problem: Callable[[], Problem],
    logger: Logger | None = None,
    callbacks: Iterable[pl.Callback] = (),
) -> None:
    """Stage 3, the gold standard: every seed that isn't there, shared with whoever else computes the same ones."""
    artifact, wanted = settings.further_artifact(cfg), settings.seeds(cfg)
    missing = [seed for seed in wanted if not artifact.has(seed_file(seed))]
    say(f"further training: {len(wanted) - len(missing)} of {len(wanted)} seeds found in {artifact.folder}")
    while missing:
        _compute_seeds(cfg, problem(), artifact, missing, logger, callbacks)
        missing = [seed for seed in missing if not artifact.has(seed_file(seed))]
        if missing:  # another process is at these: wait for the first, and take it over if that process died
            say(f"further training: waiting for seeds that another process computes: {missing}")
            with artifact.lock(seed_file(missing[0])):
                pass


def _compute_seeds(
    cfg: DictConfig,
    problem: Problem,
    artifact: artifacts.Artifact,
    missing: list[int],
    logger: Logger | None,
    callbacks: Iterable[pl.Callback],
) -> None:
    plan = settings.plan(cfg)
    locks: dict[int, BaseFileLock] = {}
    computed: list[int] = []

    def claim(seed: int) -> bool:
        if lock := artifact.claim(seed_file(seed)):
            locks[seed] = lock
        return lock is not None

    try:
        together = 1 if cfg.further.seeds_at_once == "auto" else cfg.further.seeds_at_once
        for seed, losses, seconds in further_train_problem(problem, plan, missing, claim, together, logger, callbacks):
            artifact.write(seed_file(seed), artifacts.from_dataset(losses), seconds=round(seconds, 2))
            locks.pop(seed).release()
            computed.append(seed)
        say(f"further training: computed seeds {computed}")
    finally:
        for lock in locks.values():
            lock.release()


def finished_seeds(cfg: DictConfig) -> dict[int, xr.Dataset]:
    """Losses of the seeds that are there, of those asked for."""
    gold = settings.further_artifact(cfg)
    there = [seed for seed in settings.seeds(cfg) if gold.has(seed_file(seed))]
    return {seed: artifacts.open_dataset(gold.path(seed_file(seed))) for seed in there}


def diverged_runs(losses: Mapping[int, xr.Dataset]) -> list[str]:
    """`seed 3, left-out 17` for each run that diverged."""
    return [f"seed {seed}, {run}" for seed, dataset in losses.items() for run in diverged(dataset)]


def compare(cfg: DictConfig) -> tuple[Comparison, Scores, dict[int, xr.Dataset]]:
    """Stage 4: hold what the stages before have left against each other.

    Returns:
        The comparison, the scores by label, and the losses of the seeds that were compared.

    Raises:
        UserError: where scores or all seeds are missing.
    """
    scores = read_scores(cfg)
    losses, wanted = finished_seeds(cfg), settings.seeds(cfg)
    if not losses:
        folder = settings.further_artifact(cfg).folder
        raise UserError(f"{folder} has no seeds: run experiments/further_train.py with the same options.")
    if len(losses) < len(wanted):
        say(f"comparison: with the {len(losses)} of {len(wanted)} seeds that are there")
    return compare_arrays(scores, list(losses.values())), scores, losses


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
