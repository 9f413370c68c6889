"""All four stages, each skipped where its result is there. `python experiments/run.py experiment=energy`."""

from omegaconf import DictConfig

from fimo.app.answer import answer
from fimo.app.main import app
from fimo.pipeline.run import Question


@app
def main(cfg: DictConfig) -> int:
    """Final model, scores, further training, comparison; the results folder is printed last."""
    return answer(Question(cfg))


if __name__ == "__main__":
    main()
