"""Processes that compute seeds beside this one."""

from __future__ import annotations

import logging
import math
import os
import pickle
import subprocess
import sys
from typing import Self

import psutil
import torch

from fimo.memory import available_memory
from fimo.pipeline.run import Run

logger = logging.getLogger(__name__)

# Workers are started where minutes are left (a start takes ten seconds), and where they gain more than what processes
# lose to each other: where a seed with one of two threads takes less than 1.7 times as long as with both. Two seeds in
# two processes took .65 to .75 of the time for text, .6 to .9 for digits, .8 to 1.06 for energy and folktables.
WORTHWHILE_SECONDS, LARGEST_TIME_RATIO = 180, 0.85
WORKER = (sys.executable, "-m", "fimo.pipeline.worker")


class Workers:
    """Processes that compute seeds beside this one, which the locks keep apart; all share this one's threads.

    With `further.processes=auto` they are started where that is quicker: the first seed is computed with all threads, a
    second one with as many as it would have beside workers.

    Args:
        run: whose seeds they compute.
        seeds: that are wanted.
        together: in one ensemble; several have no time of their own.
    """

    def __init__(self, run: Run, seeds: int, together: int = 1) -> None:
        self.run, self.seeds, self.threads = run, seeds, torch.get_num_threads()
        self.running: list[subprocess.Popen[bytes]] = []
        self.seconds_alone: float | None = None  # of a seed with all threads
        self.settled = run.execution.processes != "auto" or together > 1 or run.execution.device.type != "cpu"

    def __enter__(self) -> Self:
        """Those that are asked for by their number begin at once."""
        processes = self.run.execution.processes
        if isinstance(processes, int) and (count := min(self.seeds, processes)) > 1:
            try:
                self._start(count, self.seeds)
            except BaseException:
                self._end()
                raise
        return self

    def consider(self, left: int, seconds: float) -> int:
        """After each seed: how many processes share those left from now on, 0 for no change.

        Args:
            left: seeds that are still missing.
            seconds: that the finished one took.
        """
        if self.settled or left == 0:
            return 0
        count = self._processes(left)
        if self.seconds_alone is None:
            self.seconds_alone, self.settled = seconds, count == 1 or seconds * left < WORTHWHILE_SECONDS
            torch.set_num_threads(self.threads if self.settled else self.threads // count)
            return 0
        self.settled = True
        torch.set_num_threads(self.threads)
        if math.ceil(left / count) * seconds > LARGEST_TIME_RATIO * left * self.seconds_alone:
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
        logger.info("further training: %d seeds in %d processes, threads in each: %d", seeds, processes, threads)
        work = pickle.dumps((threads, self.run.for_worker()))
        for _ in range(processes - 1):
            # A session of its own: Ctrl-C reaches this process alone, which ends its workers.
            command = [*WORKER, str(os.getpid())]
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
            self.running.append(worker)
            assert worker.stdin is not None
            with worker.stdin:
                worker.stdin.write(work)
        torch.set_num_threads(threads)

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        """Wait for what they still compute; where this process fails or is interrupted, then too, end them."""
        torch.set_num_threads(self.threads)
        try:
            codes = [worker.wait() for worker in self.running if kind is None]
        finally:
            self._end()
        for code in filter(None, codes):
            logger.info("further training: a worker process ended with %d; its seeds are computed here", code)

    def _end(self) -> None:
        for worker in self.running:
            worker.terminate()  # does nothing to one that has ended
            worker.wait()
