"""Stage 4: tables and figures from what the other stages left. `python experiments/compare.py experiment=energy`."""

from omegaconf import DictConfig

from experiments import results, stages
from experiments.app import app


@app
def main(cfg: DictConfig) -> int:
    """Compare anew, with the seeds that are there, and write the results folder."""
    folder, _, diverged = results.compared(cfg, {}, anew=True)
    code = stages.exit_code(diverged)
    stages.say(str(folder))
    return code


if __name__ == "__main__":
    main()
