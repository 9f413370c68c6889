"""A run: what it is to do, with its final model once that is made. Every stage takes one."""

from __future__ import annotations

from functools import cached_property

from fimo.pipeline.final_model import final_problem, untrained_problem
from fimo.pipeline.specification import RETRAINING, RunSpecification
from fimo.problem import Problem


class Run(RunSpecification):
    """One question to answer; what is dear is made when it is first needed, and once."""

    @cached_property
    def problem(self) -> Problem:
        """The rows with the final model, which is trained (or read from its checkpoint) where it isn't stored yet."""
        return final_problem(self)

    @cached_property
    def initial_problem(self) -> Problem:
        """Where the gold standard's runs begin: at the final model; those of a re-training as the final model began."""
        return untrained_problem(self, self.problem.test) if self.gold == RETRAINING else self.problem

    @cached_property
    def examples(self) -> dict[str, list[int]]:
        """Labels of the axes `test` and `left_out` of all results: positions in entire splits, or numbers of groups."""
        data = self.dataset
        test = data.test if data.mistakes is None else self.problem.test
        return {"test": test.index.tolist(), "left_out": data.left_out.labels(data.train.index).tolist()}
