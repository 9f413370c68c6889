"""The gold standard: further training from the final model, with and without each left-out example."""

VERSION = 1  # raised when the gold standard's numbers change: losses on disk are addressed by it
