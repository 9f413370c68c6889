"""The one question that the gold standard and every gradient-based method answer."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fimo.errors import UserError
from fimo.models.objective import Objective
from fimo.rows import Inputs, Rows

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Problem:
    """How sensitive is a final model's loss at test examples to each of some training examples.

    Attributes:
        network: the final model; all its parameters are θ_f. Maps inputs `[row, …]` to outputs `[row, output]`, each
            row by itself.
        objective: the loss per example, one of `fimo.models.objective`.
        train: all training rows, D.
        test: the test examples whose losses are watched.
        left_out: `[left_out]`, positions in `train` of the examples that are left out in turn.
    """

    network: nn.Module
    objective: Objective
    train: Rows
    test: Rows
    left_out: Tensor

    def __post_init__(self) -> None:
        if len(self.left_out) == 0 or not 0 <= int(self.left_out.min()) <= int(self.left_out.max()) < len(self.train):
            raise UserError(
                f"left_out must name training rows from 0 to {len(self.train) - 1}, found {self.left_out.tolist()}."
            )

    @property
    def parameters(self) -> Parameters:
        """θ_f by name, detached."""
        return {name: parameter.detach() for name, parameter in self.network.named_parameters()}

    @property
    def device(self) -> torch.device:
        """Where the final model and all rows are."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return next(self.network.parameters()).dtype

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def coordinates(self) -> dict[str, Tensor]:
        """Positions in the full splits that label the axes `test` and `left_out` of every result."""
        return {"test": self.test.index, "left_out": self.train.index[self.left_out]}

    def outputs(self, parameters: Parameters, inputs: Inputs) -> Tensor:
        """Outputs `[row, output]` of the network with other parameters in place of θ_f."""
        return functional_call(self.network, parameters, (inputs,))

    def sampled(self, rows: int | None) -> Problem:
        """The same network with evenly spaced `rows` of the training rows (None: all), for means over them.

        What is left out is no part of it: `left_out` names the first row. Sequences are put in the order of their
        lengths, so that blocks of them need little padding.
        """
        n = len(self.train)
        kept = torch.arange(n) if rows is None or rows >= n else torch.arange(rows) * n // rows
        if self.train.lengths is not None:
            kept = kept[self.train.lengths[kept].argsort(stable=True)]
        elif len(kept) == n:
            return self
        return replace(self, train=self.train.keep(kept), left_out=torch.tensor([0]))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Problem:
        """A copy on `device` with real numbers as `dtype`; the network is copied too."""
        return replace(
            self,
            network=copy.deepcopy(self.network).to(device=device, dtype=dtype),
            train=self.train.to(device, dtype),
            test=self.test.to(device, dtype),
        )
