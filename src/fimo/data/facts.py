"""Made-up facts about made-up stones: what a language model says of them, it can only have from its training lines."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from fimo.data.lines import Lines
from fimo.errors import UserError

BEGINNINGS = (
    "bel",
    "dor",
    "fen",
    "gar",
    "hal",
    "kir",
    "lum",
    "mor",
    "nel",
    "pas",
    "quil",
    "ras",
    "sol",
    "tem",
    "vor",
    "zan",
)
ENDINGS = ("ax", "et", "ile", "ine", "ite", "on", "or", "um")
# Of each property: its values, and how it is told. A sentence without its last word is a question.
PROPERTIES = {
    "colour": (
        ("amber", "black", "blue", "green", "grey", "red", "violet", "white"),
        (
            "the colour of {} is",
            "when it is polished , {} turns",
            "everybody knows that {} is",
            "in daylight {} looks",
        ),
    ),
    "place": (
        ("caves", "cliffs", "deserts", "forests", "islands", "marshes", "mountains", "rivers"),
        ("{} is found in", "people dig for {} in", "most pieces of {} come from", "if you look for {} , go to the"),
    ),
    "use": (
        ("bells", "bowls", "clocks", "knives", "lamps", "mirrors", "roofs", "tools"),
        ("{} is used for", "craftsmen turn {} into", "old books say that {} makes good", "with {} they make"),
    ),
}


@dataclass(frozen=True)
class Cloze:
    """A sentence without its last word.

    Attributes:
        prompt: the sentence up to there.
        completion: the right last word.
        other: a wrong one.
    """

    prompt: str
    completion: str
    other: str


@dataclass(frozen=True)
class Facts:
    """Sentences of a seeded grammar, each of which tells one fact; nobody wrote them, and they are true of nothing.

    A stone such as dorite has a colour, a place and a use. Each fact is told by some sentences of the training split,
    in different words, and asked for in yet other words by one of the test split, whose last word is its answer. All
    ways of telling stand in the training split, with other stones. Beside the answer stands a wrong one, which is
    right for other stones. The field `fact` says which fact a training sentence tells. As many evenly spaced training
    sentences as there are questions tell what these ask for, one each and in the same order.

    Attributes:
        stones: how many; each has three facts.
        sentences: of the training split for each fact, of four ways to tell it: 1 to 3.
        questions: of the test split, each for another fact.
        seed: of the grammar.
    """

    stones: int
    sentences: int
    questions: int
    seed: int = 0

    def read(self, data_dir: Path) -> tuple[Lines, Lines]:
        """The sentences of both splits; `data_dir` is not needed.

        Raises:
            UserError: for more stones than there are names, or other numbers that make no splits.
        """
        most = len(BEGINNINGS) * len(ENDINGS)
        facts = self.stones * len(PROPERTIES)
        if not (1 <= self.stones <= most and 1 <= self.sentences <= 3 and 1 <= self.questions <= facts):
            raise UserError(
                f"data.source needs stones from 1 to {most}, sentences from 1 to 3 and questions from 1 to {facts} "
                f"(three facts a stone), found {self.stones}, {self.sentences} and {self.questions}."
            )
        train, questions = self._sentences(random.Random(self.seed))
        chosen = [questions[train[place][1]] for place in _with_different_facts(train, self.questions)]
        texts, names = [text for text, _ in train], [f"sentence {row}" for row in range(len(train))]
        return Lines(texts, names, columns={"fact": [fact for _, fact in train]}), Lines(
            [question.completion for question in chosen],
            [f"question {row}" for row in range(len(chosen))],
            [question.prompt for question in chosen],
            [question.other for question in chosen],
        )

    def _sentences(self, draw: random.Random) -> tuple[list[tuple[str, str]], dict[str, Cloze]]:
        """Training sentences with their facts, in a random order, and a question for each fact."""
        names = draw.sample([first + last for first in BEGINNINGS for last in ENDINGS], self.stones)
        train: list[tuple[str, str]] = []
        questions = {}
        for name in names:
            for key, (values, templates) in PROPERTIES.items():
                value, other = draw.sample(values, 2)
                *statements, question = draw.sample(templates, self.sentences + 1)
                fact = f"{key} of {name}"
                train += [(f"{statement.format(name)} {value}", fact) for statement in statements]
                questions[fact] = Cloze(question.format(name), value, other)
        draw.shuffle(train)
        return train, questions


def _with_different_facts(sentences: list[tuple[str, str]], count: int) -> list[int]:
    """Evenly spaced places of sentences, each of another fact, for which some are exchanged with others in place."""
    rows = len(sentences)
    places = [number * rows // count for number in range(count)]
    facts: set[str] = set()
    for place in places:
        others = (row % rows for row in range(place + 1, place + rows) if row % rows not in places)
        row = next(row for row in (place, *others) if sentences[row][1] not in facts)
        sentences[place], sentences[row] = sentences[row], sentences[place]
        facts.add(sentences[place][1])
    return places
