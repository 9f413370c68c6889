"""Ours beside other libraries: `make peers`."""
