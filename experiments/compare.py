"""Stage 4: tables and figures from what the other stages left. `python experiments/compare.py experiment=energy`."""

from omegaconf import DictConfig

from experiments import results, stages
from experiments.app import app


@app
def main(cfg: DictConfig) -> int:
    """Compare anew, with the seeds that are there, and write the results folder."""
    folder = results.folder_of(cfg)
    seconds: dict[str, float] = {}
    with stages.timed(seconds, "compare"):
        comparison, scores, diverged = stages.compare(cfg)
    results.write(cfg, folder, comparison, scores, diverged, seconds)
    return stages.finish(folder, diverged)


if __name__ == "__main__":
    main()
