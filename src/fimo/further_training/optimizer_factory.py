"""Optimizers with their options, before there are parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fimo.errors import UserError, short

# An elementwise optimizer (SGD, Adam, AdamW, RMSprop, …): it must treat every number by itself, since the runs of a
# chunk share its parameter tensors.
OptimizerFactory = Callable[[list[Tensor]], torch.optim.Optimizer]

# Options of torch's optimizers that choose an implementation, not what a step is.
HOW_FAST = ("fused", "foreach", "capturable", "differentiable")


@dataclass(frozen=True)
class BoundOptimizer:
    """An optimizer with its options: a function of a list of parameters, equal to others that make the same.

    Attributes:
        make: an optimizer class, or a function of parameters and options that makes an optimizer.
        options: what it takes beside the parameters, by name.
    """

    make: Callable[..., torch.optim.Optimizer]
    options: Mapping[str, Any]

    def __call__(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """The optimizer of some parameters."""
        return self.make(parameters, **self.options)

    @property
    def name(self) -> str:
        """The name of the optimizer's class, such as `SGD`."""
        return self.make.__name__ if self._is_class else type(self._of_one_number()).__name__

    @property
    def described(self) -> str:
        """Class and options for people, `SGD (lr=0.01)`, equal for all that step alike: without what is 0 or off."""
        defaults = self._of_one_number().defaults
        options = {key: value for key, value in defaults.items() if value and key not in HOW_FAST}
        return f"{self.name} ({', '.join(f'{key}={value}' for key, value in options.items())})"

    def check(self) -> None:
        """Refuse what makes no optimizer.

        Raises:
            UserError: where an optimizer class gets no learning rate, the options are refused by torch, or no optimizer
                is made.
        """
        name = getattr(self.make, "__name__", repr(self.make))
        if isinstance(self.make, type) and "lr" in inspect.signature(self.make).parameters and "lr" not in self.options:
            raise UserError(
                f"Further training by {name} needs a learning rate: pass lr=…, as in FurtherTraining(torch.optim.SGD, "
                "lr=0.01, epochs=20, batch_size=32)."
            )
        try:
            made = self._tried()
        except (TypeError, ValueError, RuntimeError, AssertionError) as reason:
            given = ", ".join(f"{key}={value!r}" for key, value in self.options.items()) or "no options"
            raise UserError(f"The optimizer {name} does not take these settings, {given}: {short(reason)}.") from reason
        if made is not None and not isinstance(made, torch.optim.Optimizer):
            raise UserError(
                "The optimizer of further training must be a torch optimizer class, or a function that makes an "
                f"optimizer of a list of parameters, found {name}, which makes a {type(made).__name__}."
            )

    def require_elementwise(self) -> None:
        """Refuse an optimizer by which one number's steps depend on others: they would be those of other runs.

        Raises:
            UserError: where numbers in one tensor move otherwise than each by itself, or can't be moved.
        """
        start, advice = torch.linspace(-1, 1, 6), "Take an elementwise one, such as torch.optim.SGD, Adam or AdamW."
        together, alone = [start.clone().reshape(2, 3)], list(start.clone().split(1))
        try:
            optimizers = [self([tensor.requires_grad_()]) for tensor in (*together, *alone)]
            for step in range(1, 4):
                for tensor, gradients in zip((*together, *alone), self._gradients(step), strict=True):
                    tensor.grad = gradients
                for optimizer in optimizers:
                    optimizer.step()
        except (TypeError, ValueError, RuntimeError, AssertionError) as reason:
            raise UserError(f"The optimizer {self.name} can't be stepped ({short(reason)}). {advice}") from reason
        if not torch.allclose(together[0].flatten(), torch.cat(alone), rtol=1e-4, atol=1e-6, equal_nan=True):
            raise UserError(
                f"The optimizer {self.name} moves each parameter by others of its tensor, in which all runs of further "
                f"training lie side by side. {advice}"
            )

    @staticmethod
    def _gradients(step: int) -> list[Tensor]:
        """Of six numbers in one tensor, and of each by itself."""
        gradients = torch.cos(step * torch.arange(6.0))
        return [gradients.reshape(2, 3), *gradients.clone().split(1)]

    @property
    def _is_class(self) -> bool:
        return isinstance(self.make, type) and issubclass(self.make, torch.optim.Optimizer)

    def _tried(self) -> object:
        """What is made of one number; of a class only its options are tried, and None is returned.

        The first optimizer of a process takes torch two seconds of imports. A class looks at its options before it
        looks at the parameters, so these can stop it there.
        """
        if not self._is_class:
            return self._of_one_number()
        try:
            self.make(_stopping(), **self.options)
        except _OptionsAccepted:
            return None
        return None

    def _of_one_number(self) -> torch.optim.Optimizer:
        return self([torch.zeros(1, requires_grad=True)])


class _OptionsAccepted(Exception):
    """Raised where an optimizer class comes to its parameters."""


def _stopping() -> Iterator[Tensor]:
    """Parameters that can't be had."""
    raise _OptionsAccepted
    yield torch.zeros(1)


def bind(optimizer: OptimizerFactory, options: Mapping[str, Any]) -> BoundOptimizer:
    """An optimizer with its options.

    A `functools.partial` of a class and the class with the same options give equal ones.

    Args:
        optimizer: a torch optimizer class, a function that makes an optimizer of a list of parameters, or a bound
            optimizer.
        options: what it takes beside the parameters, by name; they replace those that it is bound to already.

    Returns:
        The bound optimizer, checked.

    Raises:
        UserError: see `BoundOptimizer.check`.
    """
    if not callable(optimizer):
        raise UserError(
            "The optimizer of further training must be a torch optimizer class, such as torch.optim.SGD, found "
            f"{optimizer!r}."
        )
    if isinstance(optimizer, BoundOptimizer):
        bound = BoundOptimizer(optimizer.make, {**optimizer.options, **options})
    elif isinstance(optimizer, partial) and not optimizer.args:
        bound = BoundOptimizer(optimizer.func, {**optimizer.keywords, **options})
    else:
        bound = BoundOptimizer(optimizer, dict(options))
    bound.check()
    return bound
