"""The Hydra apps: wiring of the package's rooms, and nothing that computes."""

import os

# GNU OpenMP, which torch uses on Linux, lets a waiting thread spin for long: where another process wants the same cores,
# steps of some milliseconds took ten times as long (measured). Spinning briefly costs nothing alone. Read at the first
# import of torch.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import fimo as fimo  # noqa: E402  (first, whichever module of the apps comes next: see fimo/torchvision_operators.py)
