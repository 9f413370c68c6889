"""The gold standard's seeds: computed here, and on a CPU in helping processes where that is quicker."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

import psutil
import pytorch_lightning as pl
import torch
from filelock import BaseFileLock
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from fimo.app import settings
from fimo.further_training.module import is_stochastic
from fimo.further_training.progress import Progress
from fimo.further_training.seeds import train_seeds
from fimo.memory import available_memory
from fimo.pipeline import addresses, artifacts, formats
from fimo.pipeline.artifacts import seed_file
from fimo.pipeline.run import Question, say
from fimo.problem import Problem

# Helpers are started where minutes are left (a start takes ten seconds), and where they gain more than what processes
# lose to each other: where a seed with one of two threads takes less than 1.7 times as long as with both. Two seeds in
# two processes took .65 to .75 of the time for text, .6 to .9 for digits, .8 to 1.06 for energy and folktables.
WORTH, GAIN = 180, 0.85
LOG_INTERVAL = 30  # seconds between two lines of the progress in a log file
HELPER = (sys.executable, "-m", "fimo.pipeline.worker")


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
    cfg, artifact, progress = asked.cfg, addresses.further_artifact(asked.cfg), Progress(len(wanted), LOG_INTERVAL)
    together, computed = seeds_together(cfg, asked.start, len(wanted)), []
    with Claims(artifact) as claims, Helpers(cfg, len(wanted), together) as helpers, progress:
        progress.share(len(wanted), 1 + len(helpers.running))
        for seed, seconds in claims.computed(asked, wanted, together, logger, [*callbacks, progress]):
            computed.append(seed)
            left = len(missing(artifact, wanted))
            if count := helpers.consider(left, seconds):
                progress.share(left, count)
    say(f"further training: computed seeds {computed}")


def assist(asked: Question, alive: Callable[[], bool]) -> None:
    """Compute seeds for another process as long as that one is alive, and say no more than which."""
    artifact = addresses.further_artifact(asked.cfg)
    wanted = missing(artifact, settings.share(asked.cfg))
    with Claims(artifact, alive) as claims:
        computed = [seed for seed, _ in claims.computed(asked, wanted)]
    say(f"further training: computed seeds {computed}")


def seeds_together(cfg: DictConfig, problem: Problem, seeds: int) -> int:
    """Seeds in one ensemble; what was chosen is told."""
    plan, runs = settings.plan(cfg), 1 + len(problem.left_out)
    together = cfg.further.seeds_at_once
    if together == "auto":
        together = 1 if is_stochastic(problem) else min(seeds, plan.seeds_per_ensemble(problem, runs))
    width = plan.runs_per_chunk(problem, runs - 1 if plan.tangents else runs * together)
    several = f"{together} seed{'s' if together > 1 else ''} at a time"
    what = f"one run and {runs - 1} tangents" if plan.tangents else f"{runs} runs"
    say(f"further training: {what} a seed, {several}, {width} at once on {problem.device.type}")
    return together


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
        for seed, losses, seconds in train_seeds(asked.start, plan, wanted, self.claim, together, logger, callbacks):
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

    With `further.processes=auto` they are started where that is quicker: the first seed is computed with all threads, a
    second one with as many as it would have beside helpers.

    Args:
        cfg: of the run that is helped.
        seeds: that are wanted.
        together: in one ensemble; several have no time of their own.
    """

    def __init__(self, cfg: DictConfig, seeds: int, together: int = 1) -> None:
        self.cfg, self.seeds, self.threads = cfg, seeds, torch.get_num_threads()
        self.running: list[subprocess.Popen[str]] = []
        self.alone: float | None = None  # seconds of a seed with all threads
        self.settled = cfg.further.processes != "auto" or together > 1 or settings.device(cfg).type != "cpu"

    def __enter__(self) -> Self:
        """Those that are asked for by their number begin at once."""
        if self.cfg.further.processes != "auto" and (count := min(self.seeds, self.cfg.further.processes)) > 1:
            try:
                self._start(count, self.seeds)
            except BaseException:
                self._end()
                raise
        return self

    def consider(self, left: int, seconds: float) -> int:
        """After each seed, with the time it took: how many processes share those left from now on, 0 for no change."""
        if self.settled or left == 0:
            return 0
        count = self._processes(left)
        if self.alone is None:
            self.alone, self.settled = seconds, count == 1 or seconds * left < WORTH
            torch.set_num_threads(self.threads if self.settled else self.threads // count)
            return 0
        self.settled = True
        torch.set_num_threads(self.threads)
        if math.ceil(left / count) * seconds > GAIN * left * self.alone:
            return 0
        self._start(count, left)
        return count

    def _processes(self, left: int) -> int:
        """As many as there are threads and as memory has room for, each as large as this one; equal shares."""
        room = 1 + available_memory() // psutil.Process().memory_info().rss
        most = min(left, self.threads, room)
        return math.ceil(left / math.ceil(left / most))

    def _start(self, processes: int, seeds: int) -> None:
        threads = max(1, self.threads // processes)
        config = settings.plain(self.cfg) | {"threads": threads}
        config["further"]["processes"] = 1
        say(f"further training: {seeds} seeds in {processes} processes, threads in each: {threads}")
        for _ in range(processes - 1):
            # A session of its own: Ctrl-C reaches this process alone, which ends its helpers.
            command = [*HELPER, str(os.getpid())]
            helper = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
            self.running.append(helper)
            assert helper.stdin is not None
            with helper.stdin:
                json.dump(config, helper.stdin)
        torch.set_num_threads(threads)

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        """Wait for what they still compute; where this process fails or is interrupted, then too, end them."""
        torch.set_num_threads(self.threads)
        try:
            codes = [helper.wait() for helper in self.running if kind is None]
        finally:
            self._end()
        for code in filter(None, codes):
            say(f"further training: a helping process ended with {code}; its seeds are computed here")

    def _end(self) -> None:
        for helper in self.running:
            helper.terminate()  # does nothing to one that has ended
            helper.wait()
