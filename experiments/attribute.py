"""Stage 2: scores of the chosen methods. `python experiments/attribute.py experiment=energy method=paper`."""

from omegaconf import DictConfig

from fimo.app.main import app
from fimo.pipeline import stages
from fimo.pipeline.run import Question


@app
def main(cfg: DictConfig) -> int:
    """Compute the scores that aren't there."""
    stages.attribute(Question(cfg))
    return 0


if __name__ == "__main__":
    main()
