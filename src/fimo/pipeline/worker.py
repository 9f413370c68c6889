"""A process that computes seeds beside the one that started it and wrote it the config: see `seeds.Helpers`."""

from __future__ import annotations

import json
import os
import sys

from omegaconf import DictConfig

from fimo.app.main import prepare, stop
from fimo.pipeline import seeds
from fimo.pipeline.run import Question


def main() -> None:
    """Compute seeds until none is left, or whoever started this is gone."""
    try:
        parent = int(sys.argv[1])
        cfg = DictConfig(json.load(sys.stdin))
        prepare(cfg)
        seeds.assist(Question(cfg), lambda: os.getppid() == parent)
    except Exception as error:
        stop(error)


if __name__ == "__main__":
    main()
