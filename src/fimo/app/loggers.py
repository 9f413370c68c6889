"""Where curves are logged: nowhere, or in CSV files; `wandb_log.py` has Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pytorch_lightning.loggers import Logger

    from fimo.comparison.tables import Comparison


class NoLog:
    """Logs nothing.

    Args:
        folder: results folder.
        name: of the run.
        settings: the whole config.
        group: what the runs of a sweep share.
    """

    lightning: Logger | None = None

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], group: str | None = None) -> None:
        pass

    def results(self, comparison: Comparison, figure: Figure, keys: Mapping[str, str]) -> None:
        """Log `cosine/<name>` (centred) of each method once for each evaluated step against `epoch`.

        Args:
            comparison: the finished tables.
            figure: of the curves, for logs that take pictures.
            keys: the name of each method, by its label.
        """
        if self.lightning is None:
            return
        centred = comparison.curves.query("adjustment == 'centred'")
        for step, rows in centred.groupby("step"):
            metrics = {f"cosine/{keys[row.method]}": float(row.cosine_mean) for row in rows.itertuples()}
            self.lightning.log_metrics({"epoch": float(rows["epoch"].iloc[0]), **metrics}, step=int(step))

    def page(self, path: Path) -> None:
        """Log `report.html`, where the log takes pages, and the page is there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self.close(failed=kind is not None)

    def close(self, failed: bool) -> None:
        """Write what is left to write; `failed` where an error ended the run."""


class CSVLog(NoLog):
    """`results/<name>/csv/version_<k>/metrics.csv`: a new version for each run.

    Args:
        folder: results folder.
        name: of the run.
        settings: the whole config, logged with it.
        group: what the runs of a sweep share.
    """

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], group: str | None = None) -> None:
        from pytorch_lightning.loggers import CSVLogger

        self.lightning = self.csv = CSVLogger(folder, name="csv")
        self.csv.log_hyperparams(settings)

    def close(self, failed: bool) -> None:
        """Write the file."""
        self.csv.save()
