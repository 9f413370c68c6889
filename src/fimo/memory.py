"""How much memory a piece of work takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

EVERY = 0.05  # seconds


# Of the job that this process is in, where it has limits of its own (control groups, version 2).
GROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that this machine has left, or the job that this process runs in where that has less."""
    free = psutil.virtual_memory().available
    limit, used = GROUP / "memory.max", GROUP / "memory.current"
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != "max":
        return max(0, min(free, int(most) - int(used.read_text())))
    return free


@dataclass
class Peak:
    """Resident memory of this process, or, on a GPU, what torch held there, in bytes.

    Attributes:
        before: at the start.
        bytes: the largest that was seen.
    """

    before: int
    bytes: int


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """The most memory that is held inside, by the whole process: what was held before counts too, and is told.

    Resident memory is looked at 20 times a second, so a shorter peak may be missed.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        peak = Peak(torch.cuda.memory_allocated(device), 0)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device)
        return
    process, done = psutil.Process(), threading.Event()
    now = process.memory_info().rss
    peak = Peak(now, now)

    def watch() -> None:
        while not done.wait(EVERY):
            look()

    def look() -> None:
        peak.bytes = max(peak.bytes, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
        look()
