"""Networks, objectives and the training of the final model."""

VERSION = 1  # raised when the numbers of a network or of final training change: models on disk are addressed by it
