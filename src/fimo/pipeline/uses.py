"""Settings of what attribution is used for: rankings of all training rows, and removals that show whether they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fimo.comparison.removal import HARMFUL, HELPFUL
from fimo.errors import UserError
from fimo.further_training.settings import FurtherTraining, TrainedOn
from fimo.problem import Problem

# Test examples whose rankings are verified where nothing else is asked for.
TESTS = 5


@dataclass(frozen=True)
class RankSettings:
    """What a ranking keeps.

    Attributes:
        top: rows at each end of the ranking of a test example; None for 20, or all where there are fewer.
        amounts: of further training, in epochs, that methods which know it are asked for; None for the last evaluated.
    """

    top: int | None = None
    amounts: Sequence[float] | None = None

    def steps(self, training: FurtherTraining, problem: TrainedOn) -> list[int]:
        """The steps of further training that these amounts are, ascending.

        Args:
            training: the further training that methods follow.
            problem: whose training rows make its steps.

        Raises:
            UserError: for an amount that the further training does not come to.
        """
        last = training.evaluation_steps(problem)[-1]
        if self.amounts is None:
            return [last]
        per_epoch = training.steps_per_epoch(problem)
        steps = [round(amount * per_epoch) for amount in self.amounts]
        if not steps or not all(1 <= step <= last for step in steps):
            raise UserError(
                f"amounts (rank.amounts) must be a list of epochs of further training, each at least one step "
                f"({1 / per_epoch:.3g}) and at most {last / per_epoch:g}, found {list(self.amounts)}."
            )
        return sorted(set(steps))


@dataclass(frozen=True)
class RemovalSettings:
    """Which rows a removal takes out.

    Attributes:
        shares: of the training rows; so many from one end of a ranking leave as one group.
        tests: test examples whose rankings are held against further training: so many from the first of those that
            are evaluated, or positions in the test split; None for five, or all where fewer are evaluated.
        random: groups of random rows of each size.
        seed: that they are drawn with.
        ranking: that exists, a results folder of `rank` or a CSV file; None for the methods' own scores.
        end: of the rankings, `helpful` or `harmful`.
        leave_out: the scheme; None for that of further training, with `mask` in place of `every_step`.
        methods: labels of those methods of the ranking that are wanted; None for all that it has.

    Raises:
        UserError: for another end.
    """

    shares: Sequence[float] = (0.01, 0.02, 0.05)
    tests: int | Sequence[int] | None = None
    random: int = 10
    seed: int = 0
    ranking: str | None = None
    end: str = HELPFUL
    leave_out: str | None = None
    methods: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.end not in (HELPFUL, HARMFUL):
            raise UserError(f"end (verify.end) must be {HELPFUL} or {HARMFUL}, found {self.end!r}.")

    def training(self, training: FurtherTraining, problem: Problem) -> FurtherTraining:
        """The further training without the groups: evaluated after its last step.

        Args:
            training: what further training is.
            problem: whose training rows make its steps.
        """
        quick = training.leave_out == "every_step" and not training.tangents
        scheme = self.leave_out or ("mask" if quick else training.leave_out)
        return replace(training, leave_out=scheme, evaluate_every=training.evaluation_steps(problem)[-1:])

    def sizes(self, rows: int) -> dict[float, int]:
        """Rows of a group of each share; of shares that are as many rows, the first stands for all.

        Args:
            rows: training rows.

        Raises:
            UserError: for a share that is no row, or all of them.
        """
        if isinstance(self.shares, (int, float)) or not len(self.shares):
            raise UserError(f"shares (verify.shares) must be a list such as [0.01,0.05], found {self.shares!r}.")
        sizes = [round(share * rows) for share in self.shares]
        for share, size in zip(self.shares, sizes, strict=True):
            if not 1 <= size < rows:
                raise UserError(
                    f"shares (verify.shares) must each be at least one of the {rows} training rows and not all, found "
                    f"{share:g}, which is {size} row{'' if size == 1 else 's'}: {1 / rows:.2g} is one row."
                )
        first = {size: share for share, size in [*zip(self.shares, sizes, strict=True)][::-1]}
        return {share: size for share, size in zip(self.shares, sizes, strict=True) if first[size] == share}

    def positions(self, evaluated: Sequence[int]) -> list[int]:
        """The test examples, as positions in the test split.

        Args:
            evaluated: positions of the test examples that the run evaluates.

        Raises:
            UserError: for one that is not among them.
        """
        if self.tests is None:
            return list(evaluated[:TESTS])
        if isinstance(self.tests, int):
            if not 1 <= self.tests <= len(evaluated):
                raise UserError(
                    f"tests (verify.tests) must be from 1 to {len(evaluated)} (the test examples that are evaluated), "
                    f"found {self.tests}."
                )
            return list(evaluated[: self.tests])
        wrong = [test for test in self.tests if test not in evaluated or list(self.tests).count(test) > 1]
        if wrong or not self.tests:
            raise UserError(
                "tests (verify.tests) must name test examples that are evaluated (data.tested, data.test_count), each "
                f"once, found {wrong[0] if wrong else 'none'}: they are {_few(evaluated)}."
            )
        return list(self.tests)


def _few(positions: Sequence[int]) -> str:
    first = ", ".join(map(str, positions[:6]))
    return first if len(positions) <= 6 else f"{first}, … {positions[-1]} ({len(positions)} in all)"
