"""The gold standard's seeds: computed here, and on a CPU in helping processes where that is quicker."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

import psutil
import pytorch_lightning as pl
import torch
from filelock import BaseFileLock
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from fimo import artifacts, formats
from experiments import settings
from experiments.question import Question, say
from fimo.artifacts import seed_file
from fimo.further_training.module import draws_at_random
from fimo.further_training.progress import Progress
from fimo.further_training.sweep import further_train
from fimo.problem import Problem

# Seconds of work left from which on helpers are worth their start, which takes about ten. One thread in each of two
# processes was 1.2 (folktables, energy) to 1.6 times (digits) as quick as two threads in one (measured).
WORTH = 180
HELPER = (sys.executable, "-m", "experiments.helper")


def missing(artifact: artifacts.Artifact, seeds: Iterable[int]) -> list[int]:
    """Those of the seeds that are not there."""
    return [seed for seed in seeds if not artifact.has(seed_file(seed))]


def compute(
    asked: Question, wanted: Sequence[int], logger: Logger | None = None, callbacks: Iterable[pl.Callback] = ()
) -> None:
    """Compute those of the wanted seeds that are missing and that no other process computes.

    Args:
        asked: the question.
        wanted: seeds, in the order in which they are computed.
        logger: of the live curves, or none.
        callbacks: follow the seeds of this process.
    """
    cfg, artifact, progress = asked.cfg, settings.further_artifact(asked.cfg), Progress(len(wanted))
    together, computed = seeds_together(cfg, asked.start, len(wanted)), []
    with Claims(artifact) as claims, Helpers(cfg) as helpers, progress:
        helpers.start(processes(cfg, len(wanted)), len(wanted))
        for seed, seconds in claims.computed(asked, wanted, together, logger, [*callbacks, progress]):
            computed.append(seed)
            left = len(missing(artifact, wanted))
            if not helpers.running and (count := processes(cfg, left, seconds)) > 1:
                helpers.start(count, left)
                progress.share(left, count)
    say(f"further training: computed seeds {computed}")


def assist(asked: Question, alive: Callable[[], bool]) -> None:
    """Compute seeds for another process as long as that one is alive, and say no more than which."""
    artifact = settings.further_artifact(asked.cfg)
    wanted = missing(artifact, settings.share(asked.cfg))
    with Claims(artifact, alive) as claims:
        computed = [seed for seed, _ in claims.computed(asked, wanted)]
    say(f"further training: computed seeds {computed}")


def seeds_together(cfg: DictConfig, problem: Problem, seeds: int) -> int:
    """Seeds in one ensemble; what was chosen is told."""
    plan, runs = settings.plan(cfg), 1 + len(problem.left_out)
    together = cfg.further.seeds_at_once
    if together == "auto":
        together = 1 if draws_at_random(problem) else min(seeds, plan.seeds_together(problem, runs))
    width = plan.width(problem, runs * together)
    several = f"{together} seed{'s' if together > 1 else ''} at a time"
    say(f"further training: {runs} runs a seed, {several}, {width} runs at once on {problem.device.type}")
    return together


def processes(cfg: DictConfig, left: int, seconds: float = 0.0) -> int:
    """Processes that share the seeds left: 1 on a GPU, or as many as are asked for.

    `auto`: as many as there are threads, with equal shares, and memory for as many as large as this one has grown;
    where the seeds left take long enough by the time that one took.

    Args:
        cfg: the config.
        left: seeds that are still to be computed.
        seconds: that a seed takes, 0 where that is not known yet.
    """
    if left == 0 or settings.device(cfg).type != "cpu":
        return 1
    if cfg.further.processes != "auto":
        return min(left, cfg.further.processes)
    room = 1 + psutil.virtual_memory().available // psutil.Process().memory_info().rss
    most = min(left, torch.get_num_threads(), room)
    count = math.ceil(left / math.ceil(left / most))
    return count if seconds * left > WORTH and left % count == 0 else 1


class Claims:
    """The seeds that this process has taken on, locked until they are written or given up.

    Args:
        artifact: where the seeds lie.
        alive: whether it is still to take on more.
    """

    def __init__(self, artifact: artifacts.Artifact, alive: Callable[[], bool] = lambda: True) -> None:
        self.artifact, self.alive = artifact, alive
        self.locks: dict[int, BaseFileLock] = {}

    def __enter__(self) -> Self:
        """Nothing is claimed yet."""
        return self

    def computed(
        self,
        asked: Question,
        wanted: Sequence[int],
        together: int = 1,
        logger: Logger | None = None,
        callbacks: Iterable[pl.Callback] = (),
    ) -> Iterator[tuple[int, float]]:
        """Compute what can be claimed: each seed, once it is written, and the seconds it took."""
        plan = settings.plan(asked.cfg)
        for seed, losses, seconds in further_train(asked.start, plan, wanted, self.claim, together, logger, callbacks):
            self.artifact.write(seed_file(seed), formats.from_dataset(losses), seconds=round(seconds, 2))
            self.locks.pop(seed).release()
            yield seed, seconds

    def claim(self, seed: int) -> bool:
        """Whether this process is to compute a seed."""
        lock = self.artifact.claim(seed_file(seed)) if self.alive() else None
        if lock:
            self.locks[seed] = lock
        return lock is not None

    def __exit__(self, *raised: object) -> None:
        """Others may compute what is not finished."""
        for lock in self.locks.values():
            lock.release()


class Helpers:
    """Processes that compute seeds beside this one, which the locks keep apart; all share this one's threads.

    Args:
        cfg: of the run that is helped.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg, self.threads = cfg, torch.get_num_threads()
        self.running: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        """None is running yet."""
        return self

    def start(self, processes: int, seeds: int) -> None:
        """So many processes for the seeds left, this one among them."""
        if processes == 1:
            return
        threads = max(1, self.threads // processes)
        config = settings.plain(self.cfg) | {"threads": threads}
        config["further"]["processes"] = 1
        say(f"further training: {seeds} seeds in {processes} processes, threads in each: {threads}")
        for _ in range(processes - 1):
            # A session of its own: Ctrl-C reaches this process alone, which ends its helpers.
            helper = subprocess.Popen(HELPER, stdin=subprocess.PIPE, text=True, start_new_session=True)
            self.running.append(helper)
            assert helper.stdin is not None
            with helper.stdin:
                json.dump(config, helper.stdin)
        torch.set_num_threads(threads)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Wait for what they still compute; where this process fails or is interrupted, end them."""
        torch.set_num_threads(self.threads)
        for helper in self.running:
            if kind is not None:
                helper.terminate()
            if (code := helper.wait()) and kind is None:
                say(f"further training: a helping process ended with {code}; its seeds are computed here")
