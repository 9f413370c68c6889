"""Which parameters of a network are θ: all, the last layer, adapters, or those that patterns name.

The rest is frozen: the same in all runs of further training, and differentiated by nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from fimo.errors import UserError, some_of
from fimo.models.function_of_rows import spread
from fimo.models.requirements import LOOKED_AT
from fimo.rows import Inputs, Rows

logger = logging.getLogger(__name__)

ALL, LAST_LAYER, ADAPTERS = "all", "last_layer", "adapters"
# How the parts of adapters' names begin, as the library PEFT writes them: low-rank factors of several kinds, factors of
# (IA)³, prompts, and the layers that are trained beside adapters.
ADAPTER_PARTS = (
    "lora_", "ia3_", "hada_", "lokr_", "oft_", "boft_", "vera_lambda_", "hra_", "fourierft_", "adaption_", "prompt_",
    "ln_tuning_layers", "trainable_tokens_", "modules_to_save",
)  # fmt: skip


def chosen_names(network: nn.Module, choice: str | Sequence[str], train: Rows) -> tuple[str, ...]:
    """Names of the parameters that a choice makes θ, in the network's order.

    Args:
        network: in eval mode.
        choice: `all`; `last_layer`, the parameters of the module with parameters that is called last on the way to the
            outputs; `adapters`, by the names that PEFT gives; patterns of names, in which `*` stands for any
            characters; or a list of these. A parameter that has several names goes by each of them.
        train: the training rows, of which a few go through the network.

    Returns:
        The names.

    Raises:
        UserError: for a pattern that names nothing, an empty choice, adapters where there are none, and parameters
            that the outputs don't depend on.
    """
    patterns = [choice] if isinstance(choice, str) else choice
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns) or not patterns:
        raise UserError(
            f"parameters must be {ALL}, {LAST_LAYER}, {ADAPTERS}, or a list of patterns of parameters' names such as "
            f"head.*, found {choice!r}."
        )
    if patterns == [ALL]:
        return tuple(name for name, _ in network.named_parameters())
    inputs, chosen = train.keep(spread(len(train), LOOKED_AT)).inputs, set[int]()
    for pattern in patterns:
        chosen |= _identities(network, pattern, inputs)
    names = tuple(name for name, parameter in network.named_parameters() if id(parameter) in chosen)
    _require_effect(network, names, choice, inputs)
    return names


def log_choice(network: nn.Module, names: Sequence[str]) -> None:
    """A line where some parameters are not in θ, and where some are although they came frozen.

    Args:
        network: as it came.
        names: of θ.
    """
    every = dict(network.named_parameters())
    if len(names) < len(every):
        logger.info("θ: %s, %s", share_of_theta(network, names), some_of(names))
    elif frozen := [name for name, parameter in every.items() if not parameter.requires_grad]:
        logger.info("θ: all parameters, those too that came frozen (%s): parameters=… names what is θ", some_of(frozen))


def set_theta(network: nn.Module, names: Sequence[str]) -> nn.Module:
    """Let some parameters need gradients, and no others; in place.

    Args:
        network: whose parameters they are.
        names: of θ.

    Returns:
        The network.

    Raises:
        UserError: where it has no parameter of such a name.
    """
    own = dict(network.named_parameters())
    if missing := [name for name in names if name not in own]:
        raise UserError(
            f"The network {type(network).__name__} has no parameter {missing[0]}; it has {some_of([*own])}."
        )
    for name, parameter in own.items():
        parameter.requires_grad_(name in names)
    return network


def theta_of(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that need gradients, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def share_of_theta(network: nn.Module, names: Sequence[str]) -> str:
    """How many parameters of how many, `130 of 1,418 parameters`.

    Args:
        network: whose parameters they are.
        names: of θ.
    """
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    return f"{sum(sizes[name] for name in names):,} of {sum(sizes.values()):,} parameters"


def last_layer(network: nn.Module, inputs: Inputs) -> nn.Module:
    """The module with parameters that is called last, has no such call inside, and that the outputs depend on.

    Args:
        network: in eval mode.
        inputs: of a few rows.

    Returns:
        The module; the network itself where its forward uses its parameters, or those of modules that it does not call.
    """
    called: list[nn.Module] = []
    under_way: list[bool] = []  # of each call: whether a call inside has parameters

    def begin(module: nn.Module, arguments: Any) -> None:
        under_way.append(False)

    def end(module: nn.Module, arguments: Any, returned: Any) -> None:
        has_inside, has_parameters = under_way.pop(), next(module.parameters(), None) is not None
        if has_parameters and not has_inside:
            called.append(module)
        if under_way:
            under_way[-1] |= has_parameters

    computed = {  # what computes a weight from other parameters is a part of the weight's module
        part for module in network.modules() if isinstance(module, ParametrizationList) for part in module.modules()
    }
    layers = [module for module in network.modules() if module not in computed]
    hooks = [layer.register_forward_pre_hook(begin) for layer in layers]
    hooks += [layer.register_forward_hook(end) for layer in layers]
    before = tuple(theta_of(network))
    try:
        with torch.enable_grad():
            total = network.requires_grad_()(inputs).sum()
    finally:
        for hook in hooks:
            hook.remove()
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    set_theta(network, before)
    used = {id(parameter) for parameter, part in zip(parameters, gradients, strict=True) if part is not None}
    return next((layer for layer in reversed(called) if any(id(p) in used for p in layer.parameters())), network)


def _identities(network: nn.Module, pattern: str, inputs: Inputs) -> set[int]:
    """Identities (`id`) of the parameters that one pattern, or one of the words, stands for."""
    if pattern == LAST_LAYER:
        return {id(parameter) for parameter in last_layer(network, inputs).parameters()}
    every = dict(network.named_parameters(remove_duplicate=False))
    if pattern == ALL:
        return {id(parameter) for parameter in every.values()}
    fits = _is_adapter if pattern == ADAPTERS else lambda name: name == pattern or fnmatchcase(name, pattern)
    chosen = {id(parameter) for name, parameter in every.items() if fits(name)}
    if not chosen:
        what = "no adapters" if pattern == ADAPTERS else f"no parameter {pattern}"
        raise UserError(
            f"parameters={pattern}: the network {type(network).__name__} has {what}; its parameters are "
            f"{some_of([*every])}. Other choices are {ALL}, {LAST_LAYER} and {ADAPTERS}."
        )
    return chosen


def _is_adapter(name: str) -> bool:
    return any(part.startswith(ADAPTER_PARTS) for part in name.split("."))


def _require_effect(network: nn.Module, names: Sequence[str], choice: Any, inputs: Inputs) -> None:
    before = tuple(theta_of(network))
    with torch.enable_grad():
        depends = set_theta(network, names)(inputs).requires_grad
    set_theta(network, before)
    if not depends:
        raise UserError(
            f"parameters={choice} names only parameters that the outputs of the network {type(network).__name__} "
            f"don't depend on ({some_of(names)}): nothing could be trained, so name others."
        )
