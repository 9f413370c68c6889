"""Stage 3: the gold standard. `python experiments/further_train.py experiment=energy further.seeds=10`."""

from omegaconf import DictConfig

from fimo.app.main import app
from fimo.pipeline import stages
from fimo.pipeline.run import Question


@app
def main(cfg: DictConfig) -> int:
    """Compute the seeds that aren't there."""
    stages.further_train(Question(cfg))
    return stages.exit_code(stages.diverged_runs(stages.finished_seeds(cfg)))


if __name__ == "__main__":
    main()
