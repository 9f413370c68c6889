"""Final-model-only training data attribution: gradient-based methods held against further training."""

from fimo import torchvision_operators as torchvision_operators
