"""Stage 4: tables and figures from what the other stages left. `python experiments/compare.py experiment=energy`."""

from omegaconf import DictConfig

from fimo.app.main import app
from fimo.pipeline import results, stages
from fimo.pipeline.run import Question, say


@app
def main(cfg: DictConfig) -> int:
    """Compare anew, with the seeds that are there, and write the results folder."""
    folder, _, diverged = results.compared(Question(cfg), {}, anew=True)
    code = stages.exit_code(diverged)
    say(str(folder))
    return code


if __name__ == "__main__":
    main()
