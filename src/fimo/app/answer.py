"""All stages of a run, one after another."""

from hydra.utils import instantiate

from fimo.app import multirun, settings
from fimo.comparison.live import LiveAgreement
from fimo.pipeline import results, stages
from fimo.pipeline.run import Question, say


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
