"""Stage 1: the final model. `python experiments/train.py experiment=energy`."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fimo.app.main import app
from fimo.errors import Diverged
from fimo.pipeline import stages
from fimo.pipeline.run import Question, say


@app
def main(cfg: DictConfig) -> float:
    """Train the final model, or take it from `final.checkpoint`, where it isn't there: its loss on the test split."""
    try:
        stages.train(Question(cfg))
    except Diverged as error:
        if HydraConfig.get().runtime.choices.get("hydra/sweeper") != "search":
            raise
        say(str(error))  # what a search has to know, and no reason to end it
        return float("inf")
    return stages.final_loss(cfg)


if __name__ == "__main__":
    main()
