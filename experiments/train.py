"""Stage 1: the final model. `python experiments/train.py experiment=energy`."""

from functools import cache

from omegaconf import DictConfig

from experiments import stages
from experiments.app import app


@app
def main(cfg: DictConfig) -> int:
    """Train the final model, or take it from `final.checkpoint`, where it isn't there."""
    stages.train(cfg, cache(lambda: stages.problem_of(cfg)))
    return 0


if __name__ == "__main__":
    main()
