"""How much memory a piece of work takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

EVERY = 0.05  # seconds


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
