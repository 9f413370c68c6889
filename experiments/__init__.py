"""The Hydra apps: wiring of the package's rooms, and nothing that computes."""

import fimo as fimo  # first, whichever module of the apps comes next: see fimo/torchvision_operators.py
