"""The data room: sources are read, split and encoded, and leave it as tensors."""

# Raised when what the project's own sources and splits give changes, because stored results are addressed by it.
VERSION = 1
