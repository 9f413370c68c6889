"""Stage 1: the final model. `python experiments/train.py experiment=energy`."""

from omegaconf import DictConfig

from experiments import stages
from experiments.app import app
from experiments.question import Question


@app
def main(cfg: DictConfig) -> int:
    """Train the final model, or take it from `final.checkpoint`, where it isn't there."""
    stages.train(Question(cfg))
    return 0


if __name__ == "__main__":
    main()
