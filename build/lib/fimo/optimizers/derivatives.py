"""Derivatives of what optimisers (torch.optim.SGD, Adam, AdamW) and clipping do, for tangents of their parameters.

A tangent u is the derivative of the parameters θ with respect to some number ε, and goes with the derivative ġ of the
gradient g. Each rule takes both one step further, as the optimiser does θ and g. Everything is flat: θ and g are
`[param]`, tangents `[left_out, param]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from fimo.optimizers.settings import optimizer_settings

# What a rule has to remember of some tangents, by name, `[left_out, param]`.
Memory = dict[str, Tensor]


class UpdateDerivative(Protocol):
    """The derivative of one optimiser's steps along one run."""

    def follow(self, parameters: Tensor, gradient: Tensor) -> None:
        """Take note of the run's next step, before the tangents take it.

        Args:
            parameters: θ before the step, `[param]`.
            gradient: g, clipped, `[param]`.
        """
        ...

    def step(self, tangents: Tensor, changes: Tensor, memory: Memory) -> None:
        """The same step of some tangents `[left_out, param]`, in place.

        Args:
            tangents: u.
            changes: ġ, clipped as g is; it may be written over.
            memory: of these tangents; empty before their first step.
        """
        ...


class SGDDerivative:
    """Of torch's SGD, which is linear in θ and g.

    With ν = ġ + λu: b ← μb + (1 − τ)ν (at first b = ν), u ← u − ηb, or u − η(ν + μb) with Nesterov's momentum.

    Args:
        group: the optimiser's settings, its only parameter group: lr η, momentum μ, dampening τ, weight_decay λ.
    """

    def __init__(self, group: Mapping[str, Any]) -> None:
        self.lr, self.momentum, self.weight_decay = group["lr"], group["momentum"], group["weight_decay"]
        self.new, self.nesterov = 1 - group["dampening"], group["nesterov"]

    def follow(self, parameters: Tensor, gradient: Tensor) -> None:
        """Nothing of them enters a linear rule.

        Args:
            parameters: θ before the step, `[param]`.
            gradient: g, clipped, `[param]`.
        """

    def step(self, tangents: Tensor, changes: Tensor, memory: Memory) -> None:
        """See `UpdateDerivative`.

        Args:
            tangents: u, `[left_out, param]`; they are changed.
            changes: ġ, clipped as g is; it may be written over.
            memory: of these tangents; empty before their first step.
        """
        changes.add_(tangents, alpha=self.weight_decay)
        if self.momentum:
            if memory:
                memory["velocity"].mul_(self.momentum).add_(changes, alpha=self.new)
            else:
                memory["velocity"] = changes.clone()
            velocity = memory["velocity"]
            changes = changes.add_(velocity, alpha=self.momentum) if self.nesterov else velocity
        tangents.sub_(changes, alpha=self.lr)


class AdamDerivative:
    """Of torch's Adam and AdamW, whose step is η m̂ / (√v̂ + ε), m̂ and v̂ the moments of g without their bias.

    The step's derivative is η (dm̂ / (√v̂ + ε) − m̂ d√v̂ / (√v̂ + ε)²) with d√v̂ = dv̂ / (2√v̂). Where v̂ = 0 every gradient
    was zero, so m̂ is zero too, and only the first part is there.

    Args:
        group: the optimiser's settings, its only parameter group.
    """

    def __init__(self, group: Mapping[str, Any]) -> None:
        self.lr, self.eps, self.weight_decay = group["lr"], group["eps"], group["weight_decay"]
        self.decoupled, (self.beta1, self.beta2) = group["decoupled_weight_decay"], group["betas"]
        self.steps, self.first, self.second = 0, torch.tensor(0.0), torch.tensor(0.0)

    def follow(self, parameters: Tensor, gradient: Tensor) -> None:
        """See `UpdateDerivative`.

        Args:
            parameters: θ before the step, `[param]`.
            gradient: g, clipped, `[param]`.
        """
        if self.weight_decay and not self.decoupled:
            gradient = gradient + self.weight_decay * parameters
        self.steps += 1
        self.gradient = gradient
        self.first = self.beta1 * self.first.to(gradient) + (1 - self.beta1) * gradient
        self.second = self.beta2 * self.second.to(gradient) + (1 - self.beta2) * gradient.square()
        bias1, bias2 = 1 - self.beta1**self.steps, 1 - self.beta2**self.steps
        root = (self.second / bias2).sqrt()
        self.rate = self.lr / bias1 / (root + self.eps)  # of m
        slope = self.rate * self.first / (root + self.eps) / (2 * root * bias2)
        self.slope = torch.where(root > 0, slope, 0)  # of v

    def step(self, tangents: Tensor, changes: Tensor, memory: Memory) -> None:
        """See `UpdateDerivative`.

        Args:
            tangents: u, `[left_out, param]`; they are changed.
            changes: ġ, clipped as g is; it may be written over.
            memory: of these tangents; empty before their first step.
        """
        if not self.decoupled:
            changes.add_(tangents, alpha=self.weight_decay)
        else:
            tangents.mul_(1 - self.lr * self.weight_decay)
        first = memory.setdefault("first", torch.zeros_like(tangents))
        second = memory.setdefault("second", torch.zeros_like(tangents))
        first.lerp_(changes, 1 - self.beta1)
        second.mul_(self.beta2).add_(changes.mul_(self.gradient), alpha=2 * (1 - self.beta2))
        tangents.addcmul_(self.rate, first, value=-1).addcmul_(self.slope, second)


DERIVATIVES: dict[type[torch.optim.Optimizer], Callable[[Mapping[str, Any]], UpdateDerivative]] = {
    torch.optim.SGD: SGDDerivative,
    torch.optim.Adam: AdamDerivative,
    torch.optim.AdamW: AdamDerivative,
}


def derivative_of(optimizer: torch.optim.Optimizer) -> UpdateDerivative:
    """The derivative of an optimiser's steps.

    Raises:
        UserError: for an optimiser, or a setting of it, whose derivative is not here.
    """
    settings = optimizer_settings(optimizer, "further.gold=tangent")
    return DERIVATIVES[type(optimizer)](settings)


def clipped_changes(changes: Tensor, gradient: Tensor, bound: float) -> Tensor:
    """Derivative of a clipped gradient, from that of the gradient (see `fimo.further_training.ensemble.clipped`).

    g·c with c = bound / (‖g‖ + 1e-6) changes by c (ġ − g (g·ġ) / (‖g‖ (‖g‖ + 1e-6))); where c ≥ 1 nothing is clipped.

    Args:
        changes: ġ `[left_out, param]`.
        gradient: g `[param]` before it is clipped.
        bound: on the norm of g.

    Returns:
        The derivative of the clipped gradient, `[left_out, param]`.
    """
    norm = torch.linalg.vector_norm(gradient)
    factor = bound / (norm + 1e-6)
    parallel = (changes @ gradient)[:, None] * gradient / (norm * (norm + 1e-6))
    return torch.where(factor < 1, factor * (changes - parallel), changes)
