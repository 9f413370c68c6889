"""All four stages, each skipped where its result is there. `python experiments/run.py experiment=energy`."""

from functools import cache

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments import results, settings, stages
from experiments.app import app
from fimo.compare.live import LiveAgreement


@app
def main(cfg: DictConfig) -> int:
    """Final model, scores, further training, comparison; the results folder is printed last."""
    folder, seconds = results.folder_of(cfg), dict[str, float]()
    problem = cache(lambda: stages.problem_of(cfg))
    with instantiate(cfg.logger)(folder, folder.name, settings.plain(cfg)) as log:
        with stages.timed(seconds, "train"):
            stages.train(cfg, problem)
        with stages.timed(seconds, "attribute"):
            scores = stages.attribute(cfg, problem)
        with stages.timed(seconds, "further_train"):
            live = [LiveAgreement(scores, stages.finished_seeds(cfg).values())] if log.lightning else []
            stages.further_train(cfg, problem, log.lightning, live)
        folder, comparison, diverged = results.compared(cfg, seconds)
        log.results(comparison, results.figures(cfg, comparison)["curves"])
    code = stages.exit_code(diverged)
    stages.say(f"\n{results.table(folder)}\n{folder}")
    return code


if __name__ == "__main__":
    main()
