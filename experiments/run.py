"""All four stages, each skipped where its result is there. `python experiments/run.py experiment=energy`."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments import multirun, results, settings, stages
from experiments.app import app
from experiments.question import Question, say
from fimo.compare.live import LiveAgreement


@app
def main(cfg: DictConfig) -> int:
    """Final model, scores, further training, comparison; the results folder is printed last."""
    return answer(Question(cfg))


def answer(asked: Question) -> int:
    """All stages of a question: the exit code."""
    cfg, folder, seconds = asked.cfg, results.folder_of(asked.cfg), dict[str, float]()
    with instantiate(cfg.logger)(folder, folder.name, settings.plain(cfg), multirun.group()) as log:
        with stages.timed(seconds, "train"):
            stages.train(asked)
        with stages.timed(seconds, "attribute"):
            scores = stages.attribute(asked)
        with stages.timed(seconds, "further_train"):
            live = [LiveAgreement(scores, stages.finished_seeds(cfg).values())] if log.lightning else []
            stages.further_train(asked, log.lightning, live)
        folder, comparison, diverged = results.compared(asked, seconds)
        log.results(comparison, results.figures(cfg, comparison)["curves"])
    code = stages.exit_code(diverged)
    say(f"\n{results.table(folder)}\n{folder}")
    return code


if __name__ == "__main__":
    main()
