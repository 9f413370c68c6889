"""The Hydra apps: wiring of the package's rooms, and nothing that computes."""

import ctypes
import os

# GNU OpenMP (under torch on Linux) lets a waiting thread spin for long: beside another process on the same cores,
# steps of 14 ms took 550 ms, and 50 to 120 ms with this (measured). Alone it costs nothing. Read as torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# glibc hands large blocks back to the system when they are freed, and every training step faults them in anew: keeping
# them took 35 in place of 50 ms a step on folktables, 14 in place of 21 on fico (measured, all runs in one chunk).
if os.name == "posix" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    libc.mallopt(M_MMAP_THRESHOLD, 2**30)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)

import fimo as fimo  # noqa: E402  (first, whichever module of the apps comes next: see fimo/torchvision_operators.py)
