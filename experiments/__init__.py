"""The Hydra apps: wiring of the package's rooms, and nothing that computes."""

import os

# GNU OpenMP (under torch on Linux) lets a waiting thread spin for long: beside another process on the same cores,
# steps of 14 ms took 550 ms, and 50 to 120 ms with this (measured). Alone it costs nothing. Read as torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import fimo as fimo  # noqa: E402  (first, whichever module of the apps comes next: see fimo/torchvision_operators.py)
