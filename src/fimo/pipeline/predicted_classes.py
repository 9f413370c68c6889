"""What the final model says of the test examples, in words, where targets are classes."""

from __future__ import annotations

from collections.abc import Sequence

from fimo.models.evaluation import outputs_at
from fimo.problem import Problem


def predicted_classes(problem: Problem, names: Sequence[str] | None = None) -> dict[int, str]:
    """A sentence for each test example: the most probable class, and the label where it is another.

    Args:
        problem: at its final model.
        names: of the classes, by number; None calls them by their numbers.

    Returns:
        By position in the test split; empty where targets are no class numbers.
    """
    outputs, targets = outputs_at(problem.network, problem.test), problem.test.plain.targets.cpu()
    if targets.is_floating_point() or targets.ndim > 1 or outputs.ndim != 2 or outputs.shape[1] < 2:
        return {}
    sentences = {}
    parts = zip(problem.test.index.tolist(), outputs.softmax(-1), targets.tolist(), strict=True)
    for position, probabilities, label in parts:
        first = int(probabilities.argmax())
        likeliest, own = (str(number) if names is None else names[number] for number in (first, label))
        sentence = f"The final model says {likeliest} with probability {float(probabilities[first]):.3g}"
        other = f"; the label is {own}, with {float(probabilities[label]):.2g}"
        sentences[position] = f"{sentence}{', and so does the label' if first == label else other}."
    return sentences
