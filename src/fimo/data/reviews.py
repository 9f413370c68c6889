"""Film reviews: a small set of made-up sentences from a grammar."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fimo.data.corpus import Corpus, Sentences
from fimo.errors import UserError

THINGS = (
    "acting", "camera work", "cast", "dialogue", "editing", "ending", "film", "humour", "music", "opening", "plot",
    "script", "second half", "story",
)  # fmt: skip
GOOD = (
    "brilliant", "charming", "clever", "delightful", "fresh", "funny", "gripping", "moving", "sharp", "superb",
    "warm", "wonderful",
)  # fmt: skip
BAD = (
    "awful", "bland", "boring", "clumsy", "confusing", "dreadful", "dull", "flat", "lifeless", "predictable", "tired",
    "weak",
)  # fmt: skip
# What stands before the adjective, and by what it multiplies the adjective's ±2. A negation weakens what it turns.
DEGREES = {
    "": 1.0, "truly ": 1.5, "extremely ": 1.5, "rather ": 0.5, "a little ": 0.5, "not ": -0.75, "never ": -0.75,
    "hardly ": -0.75, "not very ": -0.5, "anything but ": -1.5,
}  # fmt: skip
VERBS = ("is", "was", "seemed", "felt")


@dataclass(frozen=True)
class Reviews:
    """Made-up sentences of a seeded grammar; nobody wrote them, and they teach nothing about language.

    A sentence has one or two clauses such as "the plot was hardly clever". An adjective counts ±2, the word before it
    weakens, strengthens or turns it, and the sign of the sum is the label; sums of zero are drawn again. What a word
    means therefore depends on what stands before it, and on the other clause.

    Attributes:
        train: number of training sentences, all different.
        test: number of test sentences, different from them too.
        seed: of the grammar.
    """

    train: int
    test: int
    seed: int = 0

    def read(self, data_dir: Path) -> Corpus:
        """The sentences; `data_dir` is not needed.

        Raises:
            UserError: for a split without a sentence.
        """
        if self.train < 1 or self.test < 1:
            raise UserError(f"data.source needs train and test of at least 1, found {self.train} and {self.test}.")
        draw = random.Random(self.seed)
        labels: dict[str, int] = {}
        while len(labels) < self.train + self.test:
            sentence, value = _sentence(draw)
            if value:
                labels[sentence] = int(value > 0)
        text, numbers = list(labels), np.array(list(labels.values()))
        sentences = Sentences(text, numbers)
        positions = np.arange(len(text))
        return Corpus(
            ("negative", "positive"), sentences.at(positions[: self.train]), sentences.at(positions[self.train :])
        )


def _sentence(draw: random.Random) -> tuple[str, float]:
    """A sentence, and the sum of its clauses' values."""
    things = draw.sample(THINGS, 2)
    clauses = [_clause(draw, thing) for thing in things[: draw.choice((1, 2))]]
    joint = draw.choice((" but ", " and ", " , "))
    return joint.join(text for text, _ in clauses), sum(value for _, value in clauses)


def _clause(draw: random.Random, thing: str) -> tuple[str, float]:
    good = draw.random() < 0.5
    degree = draw.choice(list(DEGREES))
    text = f"the {thing} {draw.choice(VERBS)} {degree}{draw.choice(GOOD if good else BAD)}"
    return text, (2 if good else -2) * DEGREES[degree]
