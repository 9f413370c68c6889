"""What the final model says of examples, in words, where targets are classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fimo.models.evaluation import outputs_at
from fimo.rows import Rows


def class_outputs(network: nn.Module, rows: Rows) -> Tensor | None:
    """Outputs of the final model `[row, output]`, float64, where targets are class numbers; else None.

    Args:
        network: the final model, left in eval mode.
        rows: the examples.
    """
    targets = rows.plain.targets
    return None if targets.is_floating_point() or targets.ndim > 1 else outputs_at(network, rows)


def predicted_classes(rows: Rows, outputs: Tensor | None, names: Sequence[str] | None = None) -> dict[int, str]:
    """A sentence for each example: the most probable class, and the label where it is another.

    Args:
        rows: the examples, of one split.
        outputs: see `class_outputs`.
        names: of the classes, by number; None calls them by their numbers.

    Returns:
        By position in the split; empty where targets are no class numbers.
    """
    targets = rows.plain.targets.cpu()
    if outputs is None or outputs.ndim != 2 or outputs.shape[1] < 2:
        return {}
    sentences = {}
    for position, probabilities, label in zip(rows.index.tolist(), outputs.softmax(-1), targets.tolist(), strict=True):
        first = int(probabilities.argmax())
        likeliest, own = (str(number) if names is None else names[number] for number in (first, label))
        sentence = f"The final model says {likeliest} with probability {float(probabilities[first]):.3g}"
        other = f"; the label is {own}, with {float(probabilities[label]):.2g}"
        sentences[position] = f"{sentence}{', and so does the label' if first == label else other}."
    return sentences
