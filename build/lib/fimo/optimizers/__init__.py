"""What torch's SGD, Adam and AdamW do: the derivatives of their steps, and their steps on a quadratic model."""

from fimo.optimizers.derivatives import UpdateDerivative, clipped_changes, derivative_of
from fimo.optimizers.linearised import LinearisedAdam, LinearisedSGD, linearised
from fimo.optimizers.settings import optimizer_settings

__all__ = [
    "LinearisedAdam",
    "LinearisedSGD",
    "UpdateDerivative",
    "clipped_changes",
    "derivative_of",
    "linearised",
    "optimizer_settings",
]

# Raise it when numbers change.
VERSION = 1
