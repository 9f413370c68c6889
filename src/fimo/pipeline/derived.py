"""A run about other examples than its config names: the same final model, other rows left out, other tests watched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from fimo.data.base import Data
from fimo.groups import Groups
from fimo.pipeline.addresses import LEFT_OUT
from fimo.pipeline.files import bytes_digest
from fimo.pipeline.run import Run
from fimo.pipeline.specification import DataSource, itself


@dataclass(frozen=True)
class OtherExamples:
    """The rows of another source, of which other groups are left out and other test examples watched.

    Attributes:
        source: of the rows.
        left_out: groups of positions in the training rows that are kept.
        tests: positions in the entire test split.
    """

    source: DataSource
    left_out: Groups
    tests: tuple[int, ...]

    def load(self) -> Data:
        """Read the rows, and choose these."""
        return self.of(self.source.load())

    def of(self, data: Data) -> Data:
        """The same of rows that were read."""
        test = data.test_all.keep(torch.tensor(self.tests))
        return replace(data, left_out=self.left_out, test=test, mistakes=None)


def with_examples(run: Run, left_out: Groups, tests: Sequence[int]) -> Run:
    """The run with other groups left out and other test examples watched, after the last step of further training.

    Nothing is loaded again, and the final model is the same.

    Args:
        run: whose final model, methods and further training it has.
        left_out: groups of positions in the training rows that the run keeps.
        tests: positions in the entire test split.
    """
    source = OtherExamples(run.data, left_out, tuple(tests))
    described = left_out.described(run.dataset.train.index) or left_out.labels(run.dataset.train.index).tolist()
    kept = {key: value for key, value in run.fingerprints.problem.items() if key not in (*LEFT_OUT, "test_count")}
    # Many long groups would make a long config of each address; `groups.json` says which rows they are.
    training = run.removed.training(run.training, run.problem)
    how = {"steps": list(training.evaluate_every), "leave_out": training.leave_out}  # type: ignore[arg-type]
    groups = bytes_digest(json.dumps(described).encode())
    problem = {**kept, "tested": list(tests), "groups": groups, **how}
    fingerprints = replace(run.fingerprints, problem=problem)
    derived = replace(run, data=source, training=training, make_fingerprints=partial(itself, fingerprints))
    vars(derived)["dataset"] = source.of(run.dataset)
    return derived
