"""What has to be done around other packages: torchvision beside a CPU-only torch, attention that can be differentiated.

The torchvision wheel of the package registry is built against a CUDA torch. Where its compiled operators cannot be
loaded, `import torchvision` fails ("operator torchvision::nms does not exist"), and with it pytorch_lightning (through
torchmetrics) and much of transformers. Declaring the two operators that torchvision's Python code refers to is enough:
nothing here calls them. It is done when torchvision is first looked for, so that `import fimo` need not import torch;
`fimo` is therefore imported before those packages.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

SCHEMAS = ("nms", "qnms")
# The declarations live as long as this list does.
_declared: list[Any] = []


class _BeforeTorchvision(MetaPathFinder):
    """Declares what torchvision lacks when it is first looked for, and finds nothing itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None: the finders that come next find the module."""
        if fullname == "torchvision" and self in sys.meta_path:
            sys.meta_path.remove(self)
            declare_missing_operators()
        return None


def declare_missing_operators() -> None:
    """Declare the operators that torchvision refers to, where its own can't be loaded beside this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return  # no torchvision, nothing to mend
    import torch

    try:
        for library in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(library))
    except OSError:
        declarations = torch.library.Library("torchvision", "FRAGMENT")
        for name in SCHEMAS:
            declarations.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(declarations)


def tune_process() -> None:
    """Set this process up for long computations on a CPU; before torch is imported.

    GNU OpenMP (under torch on Linux) lets a waiting thread spin for long: beside another process on the same cores,
    steps of 14 ms took 550 ms, and 50 to 120 ms with this (measured). Alone it costs nothing.

    glibc hands large blocks back to the system when they are freed, and every training step faults them in anew:
    keeping them took 35 in place of 50 ms a step on folktables, 14 in place of 21 on fico (measured, all runs in one
    chunk).
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if os.name == "posix" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 2**30)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


@contextmanager
def lasting_imports() -> Iterator[None]:
    """Import inside what stays as long as the process: nothing of it is searched for garbage, now or later.

    Python searches all that was imported again and again while more is: 0.8 of 5.6 seconds before a run (measured).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Attention by plain matrix products inside, which can be differentiated twice and forward."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


if "torchvision" not in sys.modules and not any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path):
    sys.meta_path.insert(0, _BeforeTorchvision())
