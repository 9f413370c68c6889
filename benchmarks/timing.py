"""How measurements are taken: in turn with a plain twin and with the matrix products that the work consists of."""

from __future__ import annotations

import ctypes
import datetime
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fimo.memory import peak_memory

# Rounds of a measurement; of a plain twin that takes long, fewer.
ROUNDS = 7
# What Linux says of this process.
PROCESS = Path("/proc/self")
Line = dict[str, Any]
aten = torch.ops.aten
PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.convolution, aten.convolution_backward}


class MatrixProducts(TorchDispatchMode):
    """Records the matrix products and convolutions that are computed inside, to compute them again alone.

    Their time is the machine's limit for the work: the same shapes and strides, nothing between them, and operands
    that are already there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []
        self._operands: dict[tuple, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> object:
        """Record the product, and compute it."""
        if getattr(func, "overloadpacket", None) in PRODUCTS:
            operands = [self._operand(arg) if isinstance(arg, Tensor) else arg for arg in args]
            named = dict(kwargs or {})
            self.calls.append(lambda: func(*operands, **named))
        return func(*args, **(kwargs or {}))

    def _operand(self, tensor: Tensor) -> Tensor:
        """Another tensor of the same shape and strides; the same for all that agree in them."""
        key = (tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)
        if key not in self._operands:
            other = torch.empty_strided(key[0], key[1], dtype=tensor.dtype, device=tensor.device)
            self._operands[key] = other.fill_(1e-3)
        return self._operands[key]

    def again(self) -> None:
        """Compute them all, in their order."""
        for call in self.calls:
            call()


def measured(
    what: str,
    size: str,
    work: Callable[[], object],
    twin: Callable[[], float] | None = None,
    limit: bool = True,
    rounds: int = ROUNDS,
    twin_rounds: int | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008
) -> Line:
    """One line: seconds, ratio to the twin, share of the machine's limit, memory.

    Args:
        what: the work's name.
        size: of what it was done on.
        work: is done once to warm up, then in each round.
        twin: seconds of the plain way to do the same, measured in turn.
        limit: whether the work is made of matrix products.
        rounds: how often each is measured; medians count.
        twin_rounds: in how many of them the twin is measured too; None: in all.
        device: where it is done.
    """
    products = MatrixProducts()
    with peak_memory(device) as peak, products:
        work()
    if limit and products.calls:
        seconds(products.again, device)  # to warm up
    spent, alone, ratios = [], [], []
    for number in range(rounds):
        spent.append(seconds(work, device))
        if limit and products.calls:
            alone.append(seconds(products.again, device))
        if twin and number < (twin_rounds or rounds):
            ratios.append(twin() / spent[-1])
    line: Line = {"what": what, "size": size, "seconds": _digits(statistics.median(spent))}
    line["ratio"] = _digits(statistics.median(ratios)) if ratios else None
    line["share"] = _digits(statistics.median(a / s for a, s in zip(alone, spent, strict=True))) if alone else None
    line["peak_MiB"] = round(peak.bytes / 2**20)
    return {**line, **machine(device)}


def machine(device: torch.device) -> Line:
    """Where and when it was measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    return {"device": name, "threads": torch.get_num_threads(), "date": datetime.date.today().isoformat()}


def seconds(work: Callable[[], object], device: torch.device = torch.device("cpu")) -> float:  # noqa: B008
    """How long some work takes."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_mib(work: Callable[[], object]) -> int:
    """Memory that some work takes beyond what is held already, in MiB, measured in a process that does nothing else.

    It needs Linux, and is exact with the GNU C library.

    Args:
        work: done by a copy of this process, which has to have one thread: a pool of threads would be missing there.

    Returns:
        The largest resident memory less that at the start.

    Raises:
        RuntimeError: where the work failed.
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # what is freed, and held back, would be taken again without being counted
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            PROCESS.joinpath("clear_refs").write_text("5")  # the peak from here on
            before = _peak_kib()
            work()
            os.write(write, str((_peak_kib() - before) // 1024).encode())
        except Exception as reason:  # whatever it was, the process that measures raises it
            os.write(write, f"{type(reason).__name__}: {reason}"[:4000].encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text.isdigit():
        raise RuntimeError(text or "the work ended its process")
    return int(text)


def _peak_kib() -> int:
    """The largest resident memory of this process."""
    (line,) = (line for line in PROCESS.joinpath("status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
