"""What a network has to be: a deterministic function of one row at a time, without effect on its own state.

All of it is looked at on a few rows, before anything is trained or computed. Each refusal says what was seen and what
usually causes it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from fimo.errors import UserError, short, some_of
from fimo.models.copies import copy_of
from fimo.models.finite_rows import require_finite_rows, rows_not_finite
from fimo.models.function_of_outputs import require_number_for_each_row
from fimo.models.function_of_rows import outputs_at, require_same_outputs, require_same_state, spread
from fimo.models.interface import adapt, unwrapped
from fimo.models.objective import Objective
from fimo.models.sampled import without_weights
from fimo.rows import Rows

logger = logging.getLogger(__name__)

# Rows that are looked at: spread over the training rows.
LOOKED_AT = 4


def ready(network: nn.Module, objective: Objective, train: Rows, outputs: int | None = None) -> nn.Module:
    """A network that can be asked what its training examples did, or a sentence that says why it can't.

    Args:
        network: the final model, or one that is to be trained. It is put into eval mode, and adapted in place.
        objective: the loss per example.
        train: the training rows.
        outputs: how many each row needs, where the data say so.

    Returns:
        The network; the one inside where it came in a wrapper.

    Raises:
        UserError: where it is no deterministic function of one row at a time, changes its own state, has parameters
            that are no real numbers, or has no gradient.
    """
    require_real_parameters(network)
    few = train.keep(spread(len(train), LOOKED_AT))
    with torch.random.fork_rng():  # what is drawn here is drawn by nobody else
        network, wrappers = unwrapped(network.eval(), few.inputs)
        if wrappers:
            logger.info("the network %s is taken out of its %s", type(network).__name__, ", ".join(wrappers))
        network = adapt(network, few.inputs)
        require_outputs(network, few, outputs, objective.output_axes)
        bad = rows_not_finite(train)
        require_finite_rows(network, objective, train, bad, "train", lenient=True)
        require_same_state(network, few.inputs)
        require_same_outputs(network, few.inputs)
        require_gradients(network, objective, few, train)
        require_finite_rows(network, objective, train, bad, "train")
        copy_of(network)  # once it has been differentiated
    return network


def require_real_parameters(network: nn.Module) -> None:
    """Refuse what is no network, and parameters that are no real numbers, or not there yet.

    Args:
        network: as a caller has it.

    Raises:
        UserError: naming the parameter.
    """
    kind = type(network).__name__
    if not isinstance(network, nn.Module):
        raise UserError(f"The network must be a torch.nn.Module, found a {kind}.")
    parameters = dict(network.named_parameters())
    if not parameters:
        raise UserError(f"The network {kind} has no parameters, so nothing depends on its data.")
    for name, parameter in parameters.items():
        if is_lazy(parameter):
            raise UserError(
                f"The parameter {name} of the network {kind} has no size yet: call a lazy network once with a few rows "
                "before it comes here."
            )
        if not parameter.is_floating_point():
            raise UserError(
                f"The parameters of the network {kind} must be real numbers, found {name} of {parameter.dtype}: "
                "quantised and complex parameters have no further training here."
            )


def require_outputs(network: nn.Module, few: Rows, outputs: int | None = None, axes: int | None = 1) -> None:
    """Refuse outputs that are not `[row, output]` real numbers on the network's device.

    Args:
        network: in eval mode.
        few: some rows.
        outputs: how many each row needs, None for any number.
        axes: of a row's outputs, None for any number of them; the objective then looks at their sizes.

    Raises:
        UserError: for such outputs.
    """
    kind, device, returned = type(network).__name__, next(network.parameters()).device, outputs_at(network, few.inputs)
    expected = f"outputs [row, {'output' if outputs is None else outputs}]"
    several = axes is None and returned.dim() > 2
    fits = several or returned.dim() == 2 and outputs in (None, returned.shape[1])
    if not fits or len(returned) != len(few):
        of_places = returned.dim() > 2 and len(returned) == len(few)
        remedy = "take a loss for a language model, fimo.NextToken()," if of_places else "change its forward"
        raise UserError(
            f"The network {kind} must give {expected} for these data, found the shape {list(returned.shape)} for "
            f"{len(few)} rows: {remedy} or choose another network."
        )
    if not returned.is_floating_point() or returned.device != device:
        raise UserError(
            f"The network {kind} must give real numbers on the device of its parameters, {device}, found "
            f"{returned.dtype} on {returned.device}."
        )


def require_gradients(network: nn.Module, objective: Objective, few: Rows, train: Rows) -> None:
    """Refuse targets that the objective does not take, and a network without a gradient.

    Args:
        network: in eval mode.
        objective: the loss per example.
        few: some rows.
        train: all rows, whose targets are looked at.

    Raises:
        UserError: for such targets or such a network.
    """
    kind, parameters = type(network).__name__, dict(network.named_parameters())
    advice = "The usual cause is torch.no_grad() or detach() in its forward, or in a loss of one's own."
    outputs = outputs_at(network, few.inputs)
    objective.require_targets(outputs, train.targets)
    require_number_for_each_row(without_weights(objective), outputs, few.plain.targets, "objective")
    with torch.enable_grad(), _all_differentiated(network), warnings.catch_warnings():
        warnings.filterwarnings("error", message="None of the inputs have requires_grad")  # reentrant checkpointing
        try:
            loss = objective.loss(network(few.inputs), few.targets)
            if not loss.requires_grad:
                raise UserError(f"The loss of the network {kind} has no gradient. {advice}")
            gradients = torch.autograd.grad(loss.sum(), list(parameters.values()), allow_unused=True)
        except (RuntimeError, UserWarning) as reason:
            remedy = "The usual cause is torch.utils.checkpoint without use_reentrant=False."
            checkpointed = "heckpoint" in str(reason) or isinstance(reason, UserWarning)
            raise UserError(
                f"The network {kind} can't be differentiated ({short(reason)}). {remedy if checkpointed else advice}"
            ) from reason
    without = [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    if without:
        logger.info("the loss has no gradient in %s: it counts as zero", some_of(without))


def require_watched(network: nn.Module, watched: Objective, test: Rows, what: str) -> None:
    """Refuse to watch what is no number for each test example, by itself.

    Args:
        network: in eval mode.
        watched: the measurement, or the objective.
        test: the test examples.
        what: it is: `measurement` or `objective`.

    Raises:
        UserError: naming the form that it has.
    """
    few = test.keep(spread(len(test), LOOKED_AT))
    outputs = outputs_at(network, few.inputs)
    watched.require_targets(outputs, test.targets)
    require_number_for_each_row(without_weights(watched), outputs, few.plain.targets, what)
    require_finite_rows(network, watched, test, rows_not_finite(test), "test")


def require_one_place(network: nn.Module) -> None:
    """Refuse a module that a network has under two names, where it has parameters in θ.

    `torch.func.functional_call` would leave the tensors that it is given in such a module.

    Args:
        network: of which θ alone needs gradients.

    Raises:
        UserError: naming both places.
    """
    places: dict[nn.Module, str] = {}
    for path, module in network.named_modules(remove_duplicate=False):
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            if (first := places.setdefault(module, path)) != path:
                raise UserError(
                    f"The network {type(network).__name__} has one module in two places, {first} and {path}, and torch "
                    "can't call it with other parameters: give each place a module of its own, a copy whose parameters "
                    "are then set to those of the first."
                )


@contextmanager
def _all_differentiated(network: nn.Module) -> Iterator[None]:
    """All parameters are part of θ here, as in every problem."""
    before = {parameter: parameter.requires_grad for parameter in network.parameters()}
    network.requires_grad_()
    try:
        yield
    finally:
        for parameter, needed in before.items():
            parameter.requires_grad_(needed)
