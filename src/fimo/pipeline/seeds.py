"""The gold standard's seeds: computed here, and on a CPU in worker processes where that is quicker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

import pytorch_lightning as pl
from filelock import BaseFileLock
from pytorch_lightning.loggers import Logger

from fimo.further_training.footprint import runs_per_chunk, seeds_per_ensemble
from fimo.further_training.modes import is_stochastic
from fimo.further_training.progress import Progress
from fimo.further_training.seeds import train_seeds
from fimo.pipeline import addresses, formats
from fimo.pipeline.artifacts import Artifact, seed_file
from fimo.pipeline.groups_file import write_groups
from fimo.pipeline.run import Run
from fimo.pipeline.seed_files import missing_seeds
from fimo.pipeline.workers import Workers

logger = logging.getLogger(__name__)


def compute_seeds(
    run: Run, wanted: Sequence[int], lightning_logger: Logger | None = None, callbacks: Iterable[pl.Callback] = ()
) -> None:
    """Compute those of the wanted seeds that are missing and that no other process computes.

    Args:
        run: the run.
        wanted: seeds, in the order in which they are computed.
        lightning_logger: of the live curves, or None.
        callbacks: follow the seeds of this process.
    """
    artifact, progress = addresses.further_training(run), Progress(len(wanted), log_interval=30)
    together, computed = seeds_together(run, len(wanted)), []
    write_groups(artifact, run.initial_problem.left_out, run.initial_problem.train.index)
    with SeedClaims(artifact) as claims, Workers(run, len(wanted), together) as workers, progress:
        progress.share(len(wanted), 1 + len(workers.running))
        for seed, seconds in claims.computed(run, wanted, together, lightning_logger, [*callbacks, progress]):
            computed.append(seed)
            left = len(missing_seeds(artifact, wanted))
            if count := workers.consider(left, seconds):
                progress.share(left, count)
    logger.info("further training: computed seeds %s", computed)


def work(run: Run, alive: Callable[[], bool]) -> None:
    """Compute seeds for another process as long as that one is alive, and log no more than which.

    Args:
        run: the run of that process.
        alive: whether it is.
    """
    artifact = addresses.further_training(run)
    wanted = missing_seeds(artifact, run.seeds.share)
    with SeedClaims(artifact, alive) as claims:
        computed = [seed for seed, _ in claims.computed(run, wanted)]
    logger.info("further training: computed seeds %s", computed)


def seeds_together(run: Run, seeds: int) -> int:
    """How many seeds one ensemble holds; the choice is logged.

    Args:
        run: the run.
        seeds: that are to be computed.
    """
    problem, training = run.initial_problem, run.training
    runs, together = 1 + len(problem.left_out), run.execution.seeds_at_once
    if together == "auto":
        together = 1 if is_stochastic(problem) else min(seeds, seeds_per_ensemble(training, problem, runs))
    together = int(together)
    at_once = runs_per_chunk(training, problem, runs - 1 if training.tangents else runs * together)
    several = f"{together} seed{'s' if together > 1 else ''} at a time"
    what = f"one run and {runs - 1} tangents" if training.tangents else f"{runs} runs"
    held = f"{'at least ' if problem.part else ''}{at_once} at once"  # more where what is frozen is computed once
    logger.info("further training: %s a seed, %s, %s on %s", what, several, held, run.execution.device.type)
    return together


class SeedClaims:
    """The seeds that this process has taken on, locked until they are written or given up.

    Args:
        artifact: where the seeds lie.
        alive: whether it is still to take on more.
    """

    def __init__(self, artifact: Artifact, alive: Callable[[], bool] = lambda: True) -> None:
        self.artifact, self.alive = artifact, alive
        self.locks: dict[int, BaseFileLock] = {}

    def __enter__(self) -> Self:
        """Nothing is claimed yet."""
        return self

    def computed(
        self,
        run: Run,
        wanted: Sequence[int],
        together: int = 1,
        lightning_logger: Logger | None = None,
        callbacks: Iterable[pl.Callback] = (),
    ) -> Iterator[tuple[int, float]]:
        """Compute what can be claimed.

        Args:
            run: the run.
            wanted: seeds, in the order in which they are computed.
            together: seeds in one ensemble.
            lightning_logger: of the live curves, or None.
            callbacks: Lightning callbacks that follow every seed.

        Yields:
            Each seed, once it is written, and the seconds it took.
        """
        arguments = (self.claim, together, lightning_logger, callbacks)
        for seed, losses, elapsed in train_seeds(run.initial_problem, run.training, wanted, *arguments):
            self.artifact.write(seed_file(seed), formats.from_dataset(losses), **elapsed.record())
            self.locks.pop(seed).release()
            yield seed, elapsed.seconds

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
