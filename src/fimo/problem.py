"""The one question that the gold standard and every gradient-based method answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fimo.groups import Groups
from fimo.models.copies import ACCEPTED, accepted, copied, copy_of
from fimo.models.frozen_part import Mode, with_frozen_part_stored
from fimo.models.function_of_rows import half_alone, same_when_cut, works_in_its_precision
from fimo.models.interface import cast
from fimo.models.objective import Objective
from fimo.models.own_objective import as_objective
from fimo.models.parameter_choice import ALL, chosen_names, log_choice, set_theta, theta_of
from fimo.models.requirements import ready, require_one_place, require_real_parameters, require_watched
from fimo.models.weighted import alike, for_rows, rows_for
from fimo.rows import Inputs, Rows

logger = logging.getLogger(__name__)

Parameters = dict[str, Tensor]


@dataclass(frozen=True, init=False)
class Problem:
    """How sensitive is a final model's loss at test examples to each of some training examples.

    Args:
        network: the final model. Maps inputs `[row, …]` to outputs `[row, output]`, each row by itself; of a tuple or
            mapping of outputs the first, or `logits`, is taken. It is copied and never changed; the copy is in eval
            mode.
        objective: the loss per example: one of `fimo.models.losses`, a function `loss(outputs, targets) -> [row]`, or
            an object with such a `loss`.
        train: all training rows, D: `Rows`, a pair of inputs and targets (tensors or arrays, the inputs possibly a
            mapping or a tuple of them), these two and a weight w ≥ 0 of each row `[row]`, which its loss is multiplied
            by in all training, or anything else that `Rows.of` takes. All but `Rows` go to the network's device and
            dtype; where they have these already their memory is shared, so leave it as it is. A mapping goes into the
            network by keyword where it has such arguments, else as one argument; a tuple by position.
        test: the test examples whose losses are watched, likewise; a weight means nothing there.
        left_out: what of `train` is left out in turn: row numbers in a range, list, array or tensor, or "all"; or
            groups, each left out as one: a list of such lists, or a mapping of them by name. All rows without it.
        parameters: which parameters are θ, the rest being frozen: `all`, those too that came frozen; `last_layer`;
            `adapters`; or patterns of their names, such as `["head.*"]` (see `fimo.models.parameter_choice`).
        measurement: what is watched at a test example, `fimo.margin` or in a form that objectives have; None: the loss.
        part: names of the parameters in θ, where they are known and not all: what `dataclasses.replace` hands on. It
            goes before `parameters`.

    Attributes:
        network: a copy of the final model, in eval mode, of which θ alone needs gradients; objective, measurement,
            train and test are as above. Where rows have weights their targets carry them, and the objective is that of
            such rows (see `fimo.models.weighted`).
        left_out: the groups; a single row is a group of one.
        part: names of the parameters in θ, in the network's order; None where θ is all of them.

    Raises:
        UserError: for rows or row numbers of another form or that `train` does not have, and for a network that is
            no deterministic function of one row at a time.
    """

    network: nn.Module
    objective: Objective
    measurement: Objective | None
    train: Rows
    test: Rows
    left_out: Groups
    part: tuple[str, ...] | None

    def __init__(
        self,
        network: nn.Module,
        objective: Any,
        train: Any,
        test: Any,
        left_out: Any = ALL,
        parameters: str | Sequence[str] = ALL,
        measurement: Any = None,
        *,
        part: Sequence[str] | None = None,
    ) -> None:
        require_real_parameters(network)
        objective = as_objective(objective)
        examples = alike(
            train=rows_for(network, objective, train, "train"), test=rows_for(network, objective, test, "test")
        )
        if require_rows := getattr(network, "require_rows", None):  # a language model's
            for name, rows in examples.items():
                require_rows(rows, name)
        objective = for_rows(objective, examples["train"])
        if made_anew := network not in ACCEPTED:
            network = accepted(ready(copy_of(network), objective, examples["train"]))
            if not same_when_cut(network, examples["train"]):
                logger.info("sequences keep all of their padding: it changes the outputs of %s", type(network).__name__)
                examples = {name: replace(rows, lengths=None) for name, rows in examples.items()}
        names = tuple(part or chosen_names(network, parameters, examples["train"]))
        if part is None:
            log_choice(network, names)
        if tuple(theta_of(network)) != names:
            network = set_theta(copied(network), names)
        if made_anew:
            require_one_place(network)
        part = None if len(names) == len(list(network.parameters())) else names
        measurement = measurement and as_objective(measurement, "measurement")
        if made_anew or measurement:
            watched = for_rows(measurement or objective, examples["test"], counted=False)
            require_watched(network, watched, examples["test"], "measurement" if measurement else "objective")
        made = {"network": network, "objective": objective, "measurement": measurement, "part": part, **examples}
        for name, value in {**made, "left_out": Groups.of(left_out, len(examples["train"]))}.items():
            object.__setattr__(self, name, value)

    @property
    def parameters(self) -> Parameters:
        """θ_f by name, detached."""
        return {name: parameter.detach() for name, parameter in self.theta.items()}

    @property
    def theta(self) -> dict[str, nn.Parameter]:
        """θ_f by name, as the network has it: what gradients are taken by."""
        return theta_of(self.network)

    @property
    def watched(self) -> Objective:
        """What is watched at a test example: the measurement, or the objective."""
        watched = self.objective if self.measurement is None else self.measurement
        return for_rows(watched, self.test, counted=False)

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
        """Number of parameters in θ."""
        return sum(parameter.numel() for parameter in self.theta.values())

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Labels of the axes `test` and `left_out` of every result: positions in the entire splits; groups' numbers."""
        return {"test": self.test.index.numpy(), "left_out": self.left_out.labels(self.train.index)}

    def outputs(self, parameters: Parameters, inputs: Inputs) -> Tensor:
        """Outputs of the network with other parameters in place of θ_f.

        Args:
            parameters: θ by name.
            inputs: of some rows, `[row, …]`.

        Returns:
            `[row, output]`.
        """
        return functional_call(self.network, parameters, (inputs,))

    def losses(self, parameters: Parameters, rows: Rows) -> Tensor:
        """The objective, what training lowers, at some rows.

        Args:
            parameters: θ by name.
            rows: the examples.

        Returns:
            ℓ of each row, times its weight where it has one, `[row]`.
        """
        return for_rows(self.objective, rows).loss(self.outputs(parameters, rows.inputs), rows.targets)

    def measured(self, parameters: Parameters, rows: Rows) -> Tensor:
        """The measurement, what is watched at test examples, at some rows.

        Args:
            parameters: θ by name.
            rows: the examples.

        Returns:
            The measurement at each row, `[row]`.
        """
        watched = for_rows(self.watched, rows, counted=False)
        return watched.loss(self.outputs(parameters, rows.inputs), rows.targets)

    def sampled(self, rows: int | None) -> Problem:
        """The same with evenly spaced `rows` of the training rows (None: all), for means; `left_out` is the first."""
        train = self.train.sampled(rows)
        return self if train is self.train else replace(self, train=train, left_out=Groups.of([0], len(train)))

    @cached_property
    def precomputed(self) -> Problem:
        """The same, with what is frozen and lies below θ computed once per row; itself where there is no such part."""
        return self.precomputed_in(None)

    def precomputed_in(self, mode: Mode | None) -> Problem:
        """`precomputed` for passes in another mode too.

        Args:
            mode: puts the network into it, and back into eval mode.
        """
        made = with_frozen_part_stored(self.network, self.train, self.test, mode) if self.part else None
        if made is None:
            return self
        network, train, test = made
        return replace(self, network=accepted(network), train=train, test=test)

    def in_precision(self, dtype: torch.dtype, device: torch.device | str | None = None) -> Problem:
        """A copy in a precision, or in its own (float32 for half) where the network does not take the other.

        Args:
            dtype: that is wanted.
            device: None for where it is.

        Returns:
            The copy.
        """
        for wanted in (dtype, self.dtype if self.dtype.itemsize > 2 else torch.float32):
            other = self.to(device, wanted)
            if wanted == self.dtype or works_in_its_precision(other.network, other.train[slice(0, 2)][0]):
                return other
        raise half_alone(self.network)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Problem:
        """A copy on another device or in another precision; the network is copied too.

        Args:
            device: None for where it is.
            dtype: of all real numbers, None for what they are.

        Returns:
            The copy.
        """
        train, test = self.train.to(device, dtype), self.test.to(device, dtype)
        return replace(self, network=cast(copied(self.network), device, dtype), train=train, test=test)
