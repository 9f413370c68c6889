"""What a run is to do: everything that was asked for, as objects; nothing asks a config a second time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import nn

from fimo.data.base import Data
from fimo.further_training.settings import FurtherTraining
from fimo.memory import DUAL_BYTES
from fimo.models.objective import Objective
from fimo.models.parameter_choice import ALL
from fimo.pipeline.scorers import AnyMethod
from fimo.pipeline.uses import RankSettings, RemovalSettings

# `RunSpecification.gold`: runs begin at the final model, or as it began; or one run, and its tangents.
LEAVE_ONE_OUT, RETRAINING, TANGENT = "leave_one_out", "retraining", "tangent"


class DataSource(Protocol):
    """Where the rows come from."""

    def load(self) -> Data:
        """Read, split and choose the rows."""


@dataclass(frozen=True)
class FinalTrainingSettings:
    """How the final model is trained here, or which file holds it.

    Attributes:
        epochs: 0 takes the network as it is made.
        batch_size: rows in a batch.
        optimizer: `sgd`, `adam` or `adamw`.
        lr: learning rate.
        weight_decay: of the optimiser.
        clip: bound on the gradient's norm, or None.
        keep: `last` or `best`, which epoch's parameters are kept.
        schedule: of the learning rate (see `fimo.models.training`).
        augment: called on each batch's inputs, or None.
        checkpoint: a file of weights; nothing is trained then.
        seed: of initialisation and order of examples.
    """

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    weight_decay: float = 0.0
    clip: float | None = None
    keep: str = "last"
    schedule: str = "constant"
    augment: Callable[[Any], Any] | None = None
    checkpoint: str | None = None
    seed: int = 0

    @property
    def trains(self) -> bool:
        """Whether the final model is trained here, or taken as it is."""
        return self.checkpoint is None and self.epochs > 0


@dataclass(frozen=True)
class Seeds:
    """The seeds of the gold standard: first, first + 1, …, of which a job computes every `jobs`-th.

    Attributes:
        first: the first.
        count: how many.
        jobs: over how many jobs they are split.
        job: which of these this one is, from 0.
    """

    first: int = 0
    count: int = 3
    jobs: int = 1
    job: int = 0

    @property
    def all(self) -> range:
        """Those of all jobs."""
        return range(self.first, self.first + self.count)

    @property
    def share(self) -> range:
        """Those of this job."""
        return self.all[self.job :: self.jobs]


@dataclass(frozen=True)
class Fingerprints:
    """What determines each result, as plain values: addresses are made of them.

    Attributes:
        final: of the final model.
        problem: of the examples that are left out and tested, beside the final model.
        methods: of each method's scores, beside the problem, by the method's name.
        further: of the gold standard's seeds, beside the problem.
    """

    final: Mapping[str, Any]
    problem: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]
    further: Mapping[str, Any]


@dataclass(frozen=True)
class Execution:
    """Where and with how much at once a run computes; results don't depend on it.

    Attributes:
        device: to compute on.
        processes: that share the seeds on a CPU, or `auto`.
        seeds_at_once: seeds in one ensemble, or `auto`.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    processes: int | str = 1
    seeds_at_once: int | str = "auto"


@dataclass(frozen=True)
class CurvatureLimits:
    """How much is spent on a curvature that no method of the run configures: of a damping grid.

    Attributes:
        curvature_rows: it is the mean over so many evenly spaced training rows; None for all.
        dual_bytes: bound on the memory of its dual.
        curvature: which it is, see `fimo.curvature.roots`.
    """

    curvature_rows: int | None = None
    dual_bytes: int = DUAL_BYTES
    curvature: str = "exact"


class Log(Protocol):
    """Where a run's curves are logged; a context that ends the log."""

    lightning: Any

    def results(self, comparison: Any, figure: Any, keys: Mapping[str, str]) -> None:
        """Log the finished curves.

        Args:
            comparison: the tables.
            figure: of the curves.
            keys: the name of each method, by its label.
        """
        ...

    def page(self, path: Path) -> None:
        """Log the page of a results folder, where the log takes pages.

        Args:
            path: of `report.html`, which may be missing.
        """
        ...

    def __enter__(self) -> Log: ...

    def __exit__(self, *raised: Any) -> None: ...


@dataclass(frozen=True)
class RunSpecification:
    """What a run is to do, and where its results lie.

    Attributes:
        name: of the results folder.
        data: where the rows come from.
        data_name: the name of that choice, under which `outputs/` files it.
        network: makes the untrained network of the loaded data.
        objective: the loss per example.
        measurement: what is watched at test examples; None for the objective's loss.
        parameters: which of the final model's are θ, see `fimo.models.parameter_choice`.
        final: how the final model comes about.
        training: what further training is.
        gold: which gold standard, `leave_one_out`, `retraining` or `tangent`.
        methods: by name.
        seeds: of the gold standard.
        execution: where it is computed.
        output_dir: what is dear lies there.
        results_dir: what people read lies there.
        make_fingerprints: gives what determines each result; files are read for it.
        unrolled_limits: of curvatures that no method configures.
        ranked: what a ranking of all training rows keeps.
        removed: what is taken out to see whether rankings hold.
        settings: all that was asked for as plain values, for `run.json` and loggers; nothing is read from it.
        size: `smoke`, `laptop`, `evening` or `paper`, for captions.
        swept: what a sweep gave this run, by key.
        overrides: the options of the command line, `key=value`.
        open_log: opens the log of a results folder; None for no log.
    """

    name: str
    data: DataSource
    data_name: str
    network: Callable[[Data], nn.Module]
    objective: Objective
    final: FinalTrainingSettings
    training: FurtherTraining
    gold: str
    methods: Mapping[str, AnyMethod]
    seeds: Seeds
    execution: Execution
    output_dir: Path
    results_dir: Path
    make_fingerprints: Callable[[], Fingerprints]
    measurement: Objective | None = None
    parameters: str | Sequence[str] = ALL
    unrolled_limits: CurvatureLimits = CurvatureLimits()
    ranked: RankSettings = RankSettings()
    removed: RemovalSettings = RemovalSettings()
    settings: Mapping[str, Any] = field(default_factory=dict)
    size: str = "laptop"
    swept: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    open_log: Callable[[Path], Log] | None = None

    @property
    def watched(self) -> str | None:
        """What is measured at the test examples, for people; None for their loss."""
        return None if self.measurement is None else repr(self.measurement)

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """What determines each result."""
        return self.make_fingerprints()

    @cached_property
    def dataset(self) -> Data:
        """The chosen rows."""
        return self.data.load()

    def for_worker(self) -> Self:
        """The same for another process: without what was loaded, and without a log."""
        execution = replace(self.execution, processes=1)
        return replace(self, execution=execution, open_log=None, make_fingerprints=partial(itself, self.fingerprints))


def itself(fingerprints: Fingerprints) -> Fingerprints:
    """What was made already."""
    return fingerprints
