"""Speed, memory and growth, ours beside the plain twins: `python -m benchmarks`."""
