"""Losses of classes: the cross-entropy of one class among several, and of several labels at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fimo.errors import UserError
from fimo.models.class_draws import Bernoulli, Categorical, SoftmaxSigns, curvature_factors
from fimo.models.objective import Objective, cholesky_root, require_number_for_each_output


class CrossEntropy(Objective):
    """Cross-entropy of the softmax of the outputs, for classification (as torch's `CrossEntropyLoss`).

        ℓ = −w_y log p_y, p = softmax(f)

    With label smoothing ε it is (1 − ε) of that and ε of −w_c log p_c, mean over all classes c. Outputs are logits
    `[row, class]`, targets are class numbers `[row]`.

    Args:
        weight: w, a number for each class; None for ones.
        label_smoothing: ε, at least 0 and below 1.

    Raises:
        UserError: for other weights or another ε.
    """

    positive_hessian = True
    predictive, signs = Categorical(), SoftmaxSigns()

    def __init__(self, weight: Sequence[float] | Tensor | None = None, label_smoothing: float = 0.0) -> None:
        self.weight = None if weight is None else torch.as_tensor(weight, dtype=torch.float64)
        self.label_smoothing = label_smoothing
        if self.weight is not None and (self.weight.dim() != 1 or not bool((self.weight >= 0).all())):
            raise UserError(f"weight of CrossEntropy must be a number of at least 0 for each class, found {weight!r}.")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing must be at least 0 and below 1, found {label_smoothing!r}.")

    def __repr__(self) -> str:
        weight = None if self.weight is None else self.weight.tolist()
        return f"CrossEntropy(weight={weight}, label_smoothing={self.label_smoothing:.15g})"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each example.

        Args:
            outputs: f, logits `[row, class]`.
            targets: y, class numbers `[row]`.

        Returns:
            ℓ, `[row]`, in nats.
        """
        weight = None if self.weight is None else self.weight.to(outputs)
        return functional.cross_entropy(
            outputs, targets, weight=weight, label_smoothing=self.label_smoothing, reduction="none"
        )

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of examples whose largest logit is that of their class.

        Args:
            outputs: f, logits `[row, class]`.
            targets: y, class numbers `[row]`.

        Returns:
            `accuracy`, between 0 and 1.
        """
        return {"accuracy": float((outputs.argmax(-1) == targets).to(torch.float64).mean())}

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The margin log p_y − log(1 − p_y) of the class y (TRAK: Park et al. 2023, arXiv 2303.14186).

        Args:
            outputs: f, logits `[row, class]`; p is their softmax.
            targets: y, class numbers `[row]`.

        Returns:
            The margin, `[row, 1]`.
        """
        own = torch.gather(outputs, -1, targets[..., None])
        numbers = torch.arange(outputs.shape[-1], device=outputs.device)
        others = outputs.masked_fill(numbers == targets[..., None], -torch.inf)
        return own - torch.logsumexp(others, -1, keepdim=True)

    def curvature_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """R of the Hessian, of rank one less than there are classes: a constant added to all logits changes nothing.

        Args:
            outputs: f, logits `[row, class]`.
            targets: y, class numbers `[row]`.

        Returns:
            R, `[row, class, class − 1]`.
        """
        return cholesky_root(self.hessian(outputs, targets), outputs.shape[-1] - 1)

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂²ℓ/∂f² = s (diag(p) − p pᵀ), p the softmax of the logits and s what the classes' shares in ℓ sum to.

        Args:
            outputs: f, logits `[row, class]`.
            targets: y, class numbers `[row]`.

        Returns:
            `[row, class, class]`.
        """
        p = outputs.softmax(-1)
        pairs = p[..., :, None] * p[..., None, :]
        pairs.diagonal(dim1=-2, dim2=-1).zero_()
        # p_i − p_i² is the sum of the pairs p_i p_j, of which no digits cancel.
        matrices = torch.diag_embed(pairs.sum(-1)) - pairs
        return curvature_factors(self, outputs, targets)[:, None, None] * matrices

    def require_targets(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse targets that are not numbers of the network's classes.

        Args:
            outputs: f, logits `[row, class]`.
            targets: y, of all rows.

        Raises:
            UserError: naming their form, and the number of classes.
        """
        classes = outputs.shape[1]
        if targets.is_floating_point() or targets.dim() != 1:
            raise UserError(
                f"Targets of a cross-entropy must be class numbers [row], found {list(targets.shape)} of "
                f"{targets.dtype}: take classes (data.task=classification, or targets.long()), BinaryCrossEntropy for "
                "labels of 0 and 1, or the squared error for real numbers."
            )
        if classes == 1:
            raise UserError(
                "A cross-entropy needs an output for each class, found 1 output: take fimo.BinaryCrossEntropy() "
                "for one logit, or let the network give two."
            )
        if self.weight is not None and len(self.weight) != classes:
            raise UserError(f"weight of CrossEntropy must have a number for each of {classes} classes, found {self!r}.")
        least, most = int(targets.min()), int(targets.max())
        if least < 0 or most >= classes:
            raise UserError(
                f"Targets of a cross-entropy must be class numbers from 0 to {classes - 1}, as the network has "
                f"{classes} outputs, found {least if least < 0 else most}."
            )


class BinaryCrossEntropy(Objective):
    """Cross-entropy of the sigmoid of each output, for one class against another, or for several labels at once.

        ℓ = mean over outputs of −(y log σ(f) + (1 − y) log(1 − σ(f)))

    Outputs are logits `[row, output]`, targets are 0 and 1, `[row, output]` (torch's `BCEWithLogitsLoss`).
    """

    real_targets = True
    positive_hessian = True
    predictive = Bernoulli()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy of each example.

        Args:
            outputs: f, logits `[row, output]`.
            targets: y, 0 or 1, `[row, output]`.

        Returns:
            ℓ, `[row]`, in nats.
        """
        return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(-1)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of labels whose logit has the right sign.

        Args:
            outputs: f, logits `[row, output]`.
            targets: y, 0 or 1, `[row, output]`.

        Returns:
            `accuracy`, between 0 and 1.
        """
        return {"accuracy": float(((outputs > 0) == (targets > 0.5)).to(torch.float64).mean())}

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The margin of each label, log p − log(1 − p) of what it is: ±f.

        Args:
            outputs: f, logits `[row, output]`.
            targets: y, 0 or 1, `[row, output]`.

        Returns:
            The margins, `[row, output]`.
        """
        return torch.where(targets > 0.5, outputs, -outputs)

    def require_targets(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse targets that are not 0 or 1 for each output.

        Args:
            outputs: f, logits `[row, output]`.
            targets: y, of all rows.

        Raises:
            UserError: naming their form, and that of the outputs.
        """
        if not targets.is_floating_point():
            raise UserError(
                "Targets of BinaryCrossEntropy must be 0 or 1 for each output, found class numbers: choose "
                "data.task=multilabel, which takes columns of 0 and 1, or CrossEntropy (objective=cross_entropy)."
            )
        require_number_for_each_output(type(self).__name__, outputs, targets)
        if not bool(((targets == 0) | (targets == 1)).all()):
            raise UserError("Targets of BinaryCrossEntropy must be 0 or 1 for each output, found other numbers.")
