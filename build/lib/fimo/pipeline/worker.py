"""A process that computes seeds beside the one that started it and wrote it the run: see `workers.Workers`."""

from __future__ import annotations

import os
import pickle
import sys

from fimo.compat import tune_process
from fimo.errors import UserError


def main() -> None:
    """Compute seeds until none is left, or whoever started this is gone; exit code 2 for an error of the user's."""
    tune_process()
    parent = int(sys.argv[1])
    sys.path.insert(0, os.getcwd())  # where a network of the user's own may lie
    import torch

    from fimo.messages import log_to_stdout
    from fimo.pipeline.seeds import work

    log_to_stdout()
    try:
        # What comes here is our own parent's, through a pipe that nobody else has.
        threads, run = pickle.load(sys.stdin.buffer)
        torch.set_num_threads(threads)
        work(run, lambda: os.getppid() == parent)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
