"""Multi-layer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from itertools import pairwise

from torch import Tensor, nn

from fimo.errors import UserError
from fimo.models.chain import Chain, HasChain
from fimo.models.sparse import dense, sparse_linear
from fimo.rows import Inputs


class MLP(nn.Module, HasChain):
    """Linear layers with ReLU between them: inputs – hidden – … – hidden – outputs.

    The parameters are named `linear_relu_stack.{0,2,4,…}.{weight,bias}`, as in the weight files of the paper's
    authors, and are drawn in that order by PyTorch's default initialisation.

    Args:
        inputs: number of input features.
        outputs: number of outputs, 1 for regression, the number of classes for classification.
        hidden: width of each hidden layer; none makes a linear model.
        sparse: for rows that are mostly zero: their first layer is made from the other entries alone in training mode,
            where nothing but a gradient is asked for, and the first weight lies in memory as that wants it.

    Raises:
        UserError: for a width that is no whole number above 0.
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int] = (128, 128), sparse: bool = False) -> None:
        super().__init__()
        if any(type(width) is not int or width < 1 for width in hidden):
            raise UserError(f"model.hidden must list whole numbers of at least 1, found {list(hidden)}.")
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((inputs, *hidden, outputs)):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.linear_relu_stack = nn.Sequential(*layers[:-1])
        if sparse:  # column by column
            weight = self.first.weight
            weight.data = weight.data.mT.contiguous().mT

    @property
    def first(self) -> nn.Linear:
        """The layer that sees the inputs."""
        return self.linear_relu_stack[0]  # type: ignore[return-value]

    def chained(self) -> MLP:
        """The same network, with the same layers, for training alone: see `fimo.models.chain`."""
        if type(self) is not MLP:
            return self
        other = copy(self)
        other._modules = {"linear_relu_stack": Chain(OrderedDict(self.linear_relu_stack._modules))}
        return other

    def forward(self, inputs: Inputs) -> Tensor:
        """Outputs `[row, output]` from rows `[row, input]`, or sparse ones (`columns`, `values` `[row, entry]`)."""
        if isinstance(inputs, Tensor):
            return self.linear_relu_stack(inputs)
        if not self.training:  # an ordinary layer, which all of calculus can go through
            return self.linear_relu_stack(dense(inputs, self.first.in_features))
        if isinstance(self.linear_relu_stack, Chain):
            return self.linear_relu_stack(inputs)
        return self.linear_relu_stack[1:](sparse_linear(inputs, self.first.weight, self.first.bias))
