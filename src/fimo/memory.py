"""What there is of memory, and bounds on what a piece of work may take of it, for all rooms.

A budget's name says what it bounds and in which unit. Work that would go beyond it is done in pieces or another way, so
a budget changes how long something takes, and rounding, but no result.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch  # which tables need not wait for

# A block of training rows: their activations, and their gradients where these are held as plain matrices. Twice as much
# is no quicker, half as much a fifth slower for some networks (measured).
BLOCK_BYTES = 128 * 2**20
# The Gram matrix of a Gauss–Newton factor, with its rows where both fit: else gradients are made anew for each product,
# some parameters at a time. About three times as much is used while it is made.
DUAL_BYTES = 2**30
# A Gram matrix that is made in one piece; a larger one is made block by block.
GRAM_BYTES = 256 * 2**20
# Gradients of all training rows that DataInf makes once for dampings and products: what they take while they are made.
MADE_ONCE_BYTES = 256 * 2**20
# Gradients of all training rows that DataInf keeps in factors; beyond it they are made anew for each product.
KEPT_GRADIENT_BYTES = 4 * 2**30
# Products with P that are written out, in place of the terms that they are the sum of.
WRITTEN_BYTES = 2**30
# One layer's gradients as they are while they are multiplied with those: half as much takes a tenth longer, twice as
# much is no quicker (fico).
WRITTEN_PART_BYTES = 32 * 2**20
# Rows, not bytes, of the dual in which self-influence of all training rows is computed for methods whose product with P
# costs a solution: the eigendecomposition costs their number cubed, half a minute for these on two cores.
SELF_INFLUENCE_ROWS = 4000
# Rows, not bytes, of a dual that is decomposed by Cholesky, a twentieth of an eigendecomposition's cost.
CHOLESKY_ROWS = 12_000
# Rows, not bytes, of training gradients that are multiplied, tensor by tensor, with a block of others at a time.
PRODUCT_ROWS = 4096
# Blocks, not bytes, of gradients that are multiplied with P and held together.
PRODUCT_BLOCKS = 8
# Products of all pairs of places of two sets of sequences, at a time.
PLACE_PAIR_BYTES = 64 * 2**20
# One layer's gradients as they are, for some of its outputs, where their products are cheaper than those of factors.
LAYER_GRADIENT_BYTES = 256 * 2**20
# What is read again at once, while it is in a core's cache: five times as quick for squares of 3072 × 768 entries.
CACHE_BYTES = 4 * 2**20
# Outputs of what is frozen and lies below θ, of all rows; beyond it they are computed anew in each pass.
STORED_OUTPUT_BYTES = 2**30
# Entries, not bytes, of a dense projection of random signs; a larger one is sparse, with one entry in each row.
DENSE_PROJECTION_ENTRIES = 2**26
# Parameters, gradients, optimiser state and activations of the runs of one chunk of further training, on a CPU. Where
# freed memory is kept larger chunks are quicker: 11 in place of 16 ms a step on energy, 35 in place of 51 on folktables
# with two threads (measured).
CPU_CHUNK_BYTES = 256 * 2**20
# The output of a convolution for a batch of one run: from that size on a CPU is quicker with one run after another.
LARGE_CONVOLUTION_BYTES = 2**20
# Losses of all seeds that are read from disk, and that are compared, at a time: those of a hundred seeds must fit.
SEED_READ_BYTES, SEED_COMPARISON_BYTES = 256 * 2**20, 32 * 2**20

SAMPLING_SECONDS = 0.05  # between two looks at resident memory

# Limits of the job that this process belongs to, where it has some (control groups, version 2).
GROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that this machine has left, or the job that this process runs in where that has less."""
    free = psutil.virtual_memory().available
    limit, used = GROUP / "memory.max", GROUP / "memory.current"
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != "max":
        return max(0, min(free, int(most) - int(used.read_text())))
    return free


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU."""
    import torch

    return torch.cuda.mem_get_info(device)[0]


@dataclass
class Peak:
    """Resident memory of this process, or, on a GPU, what torch held there, in bytes.

    Attributes:
        before: at the start.
        bytes: the largest sample.
    """

    before: int
    bytes: int


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """The most memory that is held inside, by the whole process: what was held before counts too, and is given.

    Resident memory is sampled 20 times a second, so a shorter peak may be missed.
    """
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        peak = Peak(torch.cuda.memory_allocated(device), 0)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device)
        return
    process, finished = psutil.Process(), threading.Event()
    now = process.memory_info().rss
    peak = Peak(now, now)

    def watch() -> None:
        while not finished.wait(SAMPLING_SECONDS):
            sample()

    def sample() -> None:
        peak.bytes = max(peak.bytes, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        finished.set()
        watcher.join()
        sample()
