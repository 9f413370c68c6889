"""Final-model-only training data attribution: gradient-based methods held against further training."""

from fimo import compat as compat
