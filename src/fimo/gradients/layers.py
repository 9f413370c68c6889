"""Gradients of one layer at several examples, in factors, without any parameter-sized tensor.

The gradient of one example with respect to a linear layer's weight is a sum over the places where the layer is applied
(one, or one for each token or pixel) of outer products δ aᵀ, δ the loss gradient at the layer's output and a its input;
with respect to the bias it is the sum of δ. An embedding is a linear layer whose inputs are one-hot, a convolution one
whose inputs are patches.

A kind of layer is one class: it says which modules it takes, makes their gradients of what goes into the layer and what
comes back to its output, and multiplies them. `kinds.LAYERS` lists all kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from fimo.gradients.base import Coefficients, ExplicitGradients, Gradients
from fimo.gradients.combinations import Combination
from fimo.memory import CACHE_BYTES, WRITTEN_PART_BYTES

ALL = slice(None)


class Layer(Gradients, ABC):
    """Per-example gradients of one kind of layer: a base class beside a form of gradients."""

    @staticmethod
    @abstractmethod
    def supports(module: Any) -> bool:
        """Whether this kind can take the module, as far as its type and settings say."""

    @staticmethod
    def takes(inputs: Tensor) -> bool:
        """Whether this kind can take a module that is called with such inputs; by default with any.

        Args:
            inputs: of a call, `[row, …]`, with an axis beside `row`.
        """
        return True

    @staticmethod
    def is_cheaper(module: Any, inputs: Tensor, outputs: Tensor) -> bool:
        """Whether gradients of this kind are held and multiplied at less cost than as they are; by default always.

        Args:
            module: one that `supports` accepts.
            inputs: of a call, `[row, …]`, which `takes` accepts.
            outputs: of that call, `[row, …]`.
        """
        return True

    @staticmethod
    def extra_bytes(module: Any, inputs: Tensor, outputs: Tensor) -> int:
        """Memory that one row's gradients take beyond the activations that a backward pass keeps anyway, in bytes.

        Args:
            module: one that `is_cheaper` accepts.
            inputs: of a call, `[row, …]`.
            outputs: of that call, `[row, …]`.

        Returns:
            Bytes; none where inputs and outputs are all that is held.
        """
        return 0

    @staticmethod
    def for_each_row(inputs: Tensor, outputs: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Inputs and outputs of a call with an axis `row`: places of all sequences of a row are places of the row.

        Args:
            inputs: of a call.
            outputs: of that call.
            rows: number of rows that the network is called with.

        Returns:
            Inputs and outputs.
        """
        return Layer.joined_places(inputs, rows), Layer.joined_places(outputs, rows)

    @staticmethod
    def joined_places(tensor: Tensor, rows: int) -> Tensor:
        """The several sequences of a row, with which a layer is called one after another, as places of one sequence.

        Args:
            tensor: inputs or outputs of a call, `[row · sequence, …]`.
            rows: number of rows that the network is called with.

        Returns:
            `[row, sequence · place, …]`; the tensor itself where it has an axis `row`.
        """
        sequences, rest = divmod(len(tensor), rows)
        if rest or sequences < 2:
            return tensor
        return tensor.reshape(rows, -1, *tensor.shape[2:]) if tensor.dim() > 2 else tensor.reshape(rows, sequences, -1)

    @classmethod
    @abstractmethod
    def of(cls, name: str, module: Any, inputs: Tensor, deltas: Tensor) -> Self:
        """The module's gradients.

        Args:
            name: of the module; empty for the network itself.
            module: the layer.
            inputs: a, `[row, …]`, as the module takes them.
            deltas: δ, the gradients at its outputs, `[row, …]`.

        Returns:
            A gradient for each row.
        """


def parameter_names(name: str, module: nn.Module) -> tuple[str, str | None]:
    """Names of the weight and, where there is one, the bias of a module.

    Args:
        name: of the module; empty for the network itself.
        module: the layer.

    Returns:
        The bias is None where there is none.
    """
    weight, bias = f"{name}.weight".lstrip("."), f"{name}.bias".lstrip(".")
    return weight, bias if getattr(module, "bias", None) is not None else None


def with_ones(inputs: Tensor) -> Tensor:
    """Inputs `[…, fan-in]` of a layer with a 1 behind them, the input that a bias has: `[…, fan-in + 1]`."""
    return functional.pad(inputs, (0, 1), value=1.0)


class FactoredGradients(Gradients):
    """Gradients that stay in factors: combinations of them are kept as rows and coefficients."""

    def linear_combination(self, coefficients: Coefficients) -> Combination:
        """Linear combinations of the rows, coefficients `[new row, row]`; only multiplying them computes something."""
        return Combination(((self, coefficients),))


@dataclass(frozen=True)
class LayerGradients(FactoredGradients, ExplicitGradients, Layer):
    """Gradients of one layer's weight and bias, in factors.

    Attributes:
        weight: name of the weight.
        bias: name of the bias, or None.
    """

    weight: str
    bias: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weight and, where there is one, the bias."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    @abstractmethod
    def matrices(self, outputs: slice = ALL) -> Tensor:
        """The weight's gradients as they are, `[row, fan-out, fan-in]`, for some of the outputs."""

    @abstractmethod
    def sums(self) -> Tensor:
        """The bias's gradients, `[row, fan-out]`: δ, summed over places."""

    @abstractmethod
    def rotated(self, left: Tensor, right: Tensor) -> LayerGradients:
        """leftᵀ G right in factors, without a bias; G is the weight's gradient, then the bias's column.

        Args:
            left: `[fan-out, fan-out]`.
            right: `[fan-in, fan-in]`, or one more each where there is a bias.

        Returns:
            Of each row, `[fan-out, fan-in]`, or one column more where there is a bias.
        """

    def with_bias(self, inputs: Tensor) -> Tensor:
        """Inputs `[…, fan-in]` with the bias's input, which is 1, behind it where there is a bias."""
        return inputs if self.bias is None else with_ones(inputs)

    @abstractmethod
    def pieces(self, most_bytes: int | None = None) -> Iterator[Tensor]:
        """`matrices`, some rows at a time.

        Args:
            most_bytes: that a piece may take, but for a single row; None for `LAYER_GRADIENT_BYTES`.
        """

    def written(self) -> Iterator[dict[str, Tensor]]:
        """The gradients as they are, see `ExplicitGradients`."""
        sums, begin = self.sums() if self.bias is not None else None, 0
        for piece in self.pieces(WRITTEN_PART_BYTES):
            rows = slice(begin, begin := begin + len(piece))
            weight = {self.weight: piece.flatten(1)}
            yield weight if sums is None or self.bias is None else {**weight, self.bias: sums[rows]}

    def squared_entries(self) -> Tensor:
        """Sum over rows of the squared entries of the weight's gradient, `[fan-out, fan-in]`."""
        pieces = self.pieces(CACHE_BYTES)
        total = next(pieces).square().sum(0)
        for piece in pieces:
            if len(piece) == 1:
                total.addcmul_(piece[0], piece[0])  # no squares are written down
            else:
                total += piece.square().sum(0)
        return total

    def row_square_sums(self) -> dict[str, Tensor]:
        """Sum over all rows of the squared entries of both parameters."""
        weight = {self.weight: self.squared_entries()}
        return weight if self.bias is None else {**weight, self.bias: self.sums().square().sum(0)}

    def weighted_squares(self, weights: Tensor) -> Tensor:
        """Sum over the entries of the weight's gradient of their squares times weights `[fan-out, fan-in]`, `[row]`."""
        return torch.cat([(piece.square() * weights).sum((1, 2)) for piece in self.pieces(CACHE_BYTES)])
