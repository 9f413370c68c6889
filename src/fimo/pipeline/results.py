"""`results/<name>/`: which folder a run's results go to, whether they are there, and what they say."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from fimo.pipeline import addresses, artifacts, files
from fimo.pipeline.attribute import Attribution
from fimo.pipeline.run import Run
from fimo.pipeline.seed_files import SeedFiles

if TYPE_CHECKING:
    from fimo.comparison.removal import Verification
    from fimo.comparison.tables import Comparison

logger = logging.getLogger(__name__)


def _plain(run: Run) -> Path:
    return run.results_dir / files.folder_name(run.name)


def folder_of(run: Run, inputs: Mapping[str, Any] | None = None) -> Path:
    """`results/<name>`, with a short hash where results of something else have that name.

    Args:
        run: whose name it is.
        inputs: what determines the results; None for those of a comparison.
    """
    folder, own = _plain(run), inputs or addresses.inputs(run)
    previous = artifacts.read_run(folder)
    if previous is None or previous.get("inputs") == own:
        return folder
    return folder.with_name(f"{folder.name}-{files.short_hash(own)}")


@contextmanager
def reserved(run: Run, inputs: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """The results folder; inside, nobody else decides on its name or writes into it.

    Args:
        run: whose name it has.
        inputs: see `folder_of`.
    """
    plain_name = _plain(run)
    with artifacts.results_lock(plain_name):
        folder = folder_of(run, inputs)
        if folder != plain_name:
            logger.info("%s holds the results of another config: these go to %s", plain_name, folder)
        yield folder


def finished(run: Run, folder: Path) -> dict[str, Any] | None:
    """What `run.json` says where the results are complete, else None.

    Args:
        run: whose seeds all have to be compared.
        folder: whose files all have to be there.
    """
    record = complete(folder)
    return record if record is not None and record["compared"] == list(run.seeds.all) else None


def complete(folder: Path) -> dict[str, Any] | None:
    """What `run.json` of a results folder says where all of its files are there as they were written, else None."""
    record = artifacts.read_run(folder)
    if not record or not all((folder / name).is_file() for name in record["files"]):
        return None
    written = record.get("sha256", {})  # which folders of older versions don't have
    if changed := [name for name, known in written.items() if files.digest(folder / name) != known]:
        logger.info("%s is not as it was written in %s: the folder is written again", changed[0], folder)
        return None
    return record


def log_found(what: str, folder: Path) -> None:
    """Say where finished results are; the list of all runs gets them again where it has lost them.

    Args:
        what: they are, as `comparison`.
        folder: of the results.
    """
    logger.info("%s: found in %s", what, folder)
    index = folder.parent / artifacts.INDEX
    if not index.is_file() or f"({folder.name}/)" not in unquote(index.read_text(errors="replace")):
        from fimo.pipeline.record import write_index  # all that tables need

        write_index(folder.parent)


def read(folder: Path) -> Comparison:
    """The tables of a finished run."""
    import pandas as pd

    from fimo.comparison.tables import Comparison

    return Comparison(
        *(pd.read_csv(folder / name) for name in (artifacts.CURVES, artifacts.SEEDS, artifacts.RELIABILITY))
    )


def read_verification(folder: Path, end: str) -> Verification:
    """The tables of a finished verification.

    Args:
        folder: of its results.
        end: of the rankings whose rows left, `helpful` or `harmful`.
    """
    import pandas as pd

    from fimo.comparison.removal import Verification

    table, agreement = (pd.read_csv(folder / name) for name in (artifacts.REMOVAL, artifacts.AGREEMENT))
    return Verification(table, agreement, end)


def log_page(run: Run, folder: Path) -> None:
    """Log the page of a finished results folder, where the run has a log that takes pages.

    Args:
        run: whose log it is.
        folder: of the results.
    """
    if run.open_log:
        with run.open_log(folder) as log:
            log.page(folder / artifacts.REPORT)


def table(folder: Path) -> str:
    """The table of a finished run, for people."""
    return (folder / artifacts.TABLE).read_text()


def compared(
    run: Run, done: Attribution, seeds: SeedFiles, seconds: dict[str, float], anew: bool = False
) -> tuple[Path, list[str]]:
    """Stage 4 into the results folder, unless it is finished.

    Args:
        run: the run.
        done: scores and failures of its methods.
        seeds: the files of its seeds.
        seconds: of the stages before, for `run.json`.
        anew: compare even where the folder is finished.

    Returns:
        The folder, and the runs that diverged.

    Raises:
        UserError: where all seeds are missing, or files belong to other examples than are asked for.
    """
    with reserved(run) as folder:
        record = finished(run, folder)
        # A method that failed then may have scores now.
        if record is not None and record.get("failed", {}) == done.failed and not anew:
            log_found("comparison", folder)
            return folder, record["diverged"]
        from fimo.pipeline.results_files import compare_and_write  # drawing, which found results don't need

        return folder, compare_and_write(run, folder, done, seeds.finished(), seconds)
