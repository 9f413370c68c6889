"""One method's failure is its own: what goes wrong in computing its scores, as an exception of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from fimo.compat import differentiable_attention
from fimo.errors import MethodFailed, lacks_derivative, short
from fimo.gradients.cotangents import Cotangents, OfMeasurement, of_loss
from fimo.gradients.source import GradientSource
from fimo.gradients.verified import factors_or_dense
from fimo.problem import Problem
from fimo.rows import Rows
from fimo.vmapping import is_out_of_memory

# Rows whose gradients are made at once to find one that is not zero.
FIRST_LOOK = 8


@contextmanager
def own_failure(label: str) -> Iterator[None]:
    """Inside, what torch can't do for a method's problem becomes that method's failure; bugs keep their exception.

    Args:
        label: of the method.

    Raises:
        MethodFailed: where a decomposition fails, a derivative is missing or memory runs out.
    """
    try:
        yield
    except torch.linalg.LinAlgError as reason:
        raise MethodFailed(
            f"{label} needs the decomposition of a matrix that has none ({short(reason)}): its entries are not finite, "
            "or differ too much in size; choose a larger damping, or look at the gradients of the final model."
        ) from reason
    except (RuntimeError, MemoryError) as reason:  # NotImplementedError is one
        if lacks_derivative(reason):
            raise MethodFailed(
                f"{label} needs a derivative that torch does not have for a part of the network or of the loss "
                f"({short(reason)}): choose another method."
            ) from reason
        if not is_out_of_memory(reason):
            raise
        raise MethodFailed(
            f"{label} ran out of memory ({short(reason)}): choose a smaller method.curvature_rows, or another method."
        ) from reason


def require_gradients(problem: Problem) -> None:
    """Refuse a final model that has no gradient at all left-out training rows, or at all test examples.

    It looks no further than the first block with a gradient that is not zero; those have to be finite.

    Args:
        problem: the final model with its rows.

    Raises:
        MethodFailed: for a method that takes gradients there, since its scores would be zero, or no numbers.
    """
    few = problem.test.keep(slice(0, 2))
    outputs = problem.outputs(problem.parameters, few.inputs).detach().requires_grad_()
    if not problem.watched.loss(outputs, few.targets).requires_grad:
        raise MethodFailed(
            f"The measurement {problem.watched!r} has no gradient in the outputs, with which every method begins: take "
            "one that has, such as fimo.margin. Further training measures any."
        )

    def look() -> None:
        source = GradientSource(problem)
        looks: Sequence[tuple[str, Rows, Cotangents]] = (
            ("left-out training rows", problem.train.keep(problem.left_out.rows), of_loss),
            ("test examples", problem.test, OfMeasurement(problem.watched)),
        )
        for what, rows, cotangents in looks:
            for block in source.blocks(rows, cotangents, FIRST_LOOK):
                norms = block.norms()
                if bad := int((~norms.isfinite()).sum()):
                    raise MethodFailed(
                        f"The gradient is not finite at {bad} of {len(norms)} {what} that were looked at, though the "
                        "loss may be: a part of the network divides by zero or masks all that it looks at (padded rows "
                        "of some text models do); choose another network, or rows of one length."
                    )
                if bool((norms != 0).any()):
                    break
            else:
                raise MethodFailed(
                    f"All gradients are zero at the {len(rows)} {what}, and so would all scores be: there the final "
                    "model's loss is exactly zero, its outputs are saturated or its units are dead; train it less "
                    "(final.epochs, final.lr), scale its inputs, or choose other rows."
                )

    with differentiable_attention():
        factors_or_dense(problem.network, look)


def require_scores(scores: Mapping[str, object], failed: Mapping[str, str]) -> None:
    """Refuse to go on where every method failed.

    Args:
        scores: by label.
        failed: why a method has none, by label.

    Raises:
        MethodFailed: with the reasons.
    """
    if failed and not scores:
        reasons = list(dict.fromkeys(failed.values()))
        raise MethodFailed(reasons[0] if len(reasons) == 1 else f"No method has scores. {' '.join(reasons)}")


def failure_notes(failed: Mapping[str, str]) -> Sequence[str]:
    """A sentence for each method without scores.

    Args:
        failed: why a method has none, by label.
    """
    return [f"{label} has no scores and is left out: {reason}" for label, reason in failed.items()]
