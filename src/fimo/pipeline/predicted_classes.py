"""What the final model says of examples, in words, where targets are classes or tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from fimo.models.evaluation import all_outputs, outputs_by_block
from fimo.models.next_token import first_sequence
from fimo.models.objective import Objective
from fimo.models.token_labels import next_labels
from fimo.pipeline.run import Run
from fimo.rows import NO_LOSS, Rows


def class_outputs(network: nn.Module, rows: Rows) -> Tensor | None:
    """Outputs of the final model `[row, output]`, float64, where targets are class numbers; else None.

    Args:
        network: the final model, left in eval mode.
        rows: the examples.
    """
    targets = rows.plain.targets
    return None if targets.is_floating_point() or targets.ndim > 1 else all_outputs(network, rows)


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


def predictions(run: Run, rows: Rows, outputs: Tensor | None) -> dict[int, str]:
    """A sentence for each example on what the final model says of it: of its class, or of a language model's tokens.

    Args:
        run: with its final model.
        rows: the examples, of one split.
        outputs: see `class_outputs`.

    Returns:
        By position in the split; empty where targets are neither.
    """
    if (word := run.dataset.word) is not None:
        return predicted_tokens(run.problem.network, run.objective, rows, word)
    return predicted_classes(rows, outputs, run.dataset.classes)


def predicted_tokens(
    network: nn.Module, objective: Objective, rows: Rows, word: Callable[[int], str]
) -> dict[int, str]:
    """A sentence for each row of a language model: its loss, and the most probable tokens in place of its own.

    Args:
        network: the final model, left in eval mode.
        objective: the loss of its next tokens.
        rows: the examples, of one split.
        word: the text of a token, by its number.

    Returns:
        By position in the split.
    """
    sentences: dict[int, str] = {}
    positions = iter(rows.index.tolist())
    for outputs, targets in outputs_by_block(network, rows.plain):
        losses = objective.loss(outputs, targets)
        logits, labels = first_sequence(outputs, targets)
        for loss, likeliest, predicted in zip(losses, logits.argmax(-1), next_labels(logits, labels), strict=True):
            words = " ".join(word(int(number)) for number in likeliest[predicted != NO_LOSS])
            sentences[next(positions)] = (
                f"The final model's loss is {float(loss):.3g} per token; the most probable token at each place, given "
                f"those before it: {words}."
            )
    return sentences
