"""All four stages, each skipped where its result is there. `python experiments/run.py experiment=energy`."""

from functools import cache

from hydra.utils import instantiate
from omegaconf import DictConfig

from fimo import artifacts
from experiments import results, settings, stages
from experiments.app import app
from fimo.compare.live import LiveAgreement


@app
def main(cfg: DictConfig) -> int:
    """Final model, scores, further training, comparison; the results folder is printed last."""
    folder, seconds = results.folder_of(cfg), dict[str, float]()
    problem = cache(lambda: stages.problem_of(cfg))
    log = instantiate(cfg.logger)(folder, folder.name, settings.plain(cfg))
    with stages.timed(seconds, "train"):
        stages.train(cfg, problem)
    with stages.timed(seconds, "attribute"):
        scores = stages.attribute(cfg, problem)
    with stages.timed(seconds, "further_train"):
        stages.further_train(cfg, problem, log.lightning, [LiveAgreement(scores)])
    if previous := artifacts.read_run(folder):
        stages.say(f"comparison: found in {folder}")
        comparison, diverged = results.read(folder), previous["diverged"]
    else:
        with stages.timed(seconds, "compare"):
            comparison, scores, diverged = stages.compare(cfg)
        results.write(cfg, folder, comparison, scores, diverged, seconds)
    log.results(comparison, results.figures(cfg, comparison)["curves"])
    log.close()
    return stages.finish(folder, diverged)


if __name__ == "__main__":
    main()
