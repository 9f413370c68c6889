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
    """The largest memory seen.

    Attributes:
        bytes: resident memory of this process, or, on a GPU, what torch held there.
    """

    bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """The most memory that is held inside, by the whole process: what was held before counts too.

    Resident memory is looked at 20 times a second, so a shorter peak may be missed.
    """
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device)
        return
    process, done = psutil.Process(), threading.Event()

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
