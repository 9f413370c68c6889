"""Calculus at the final model: gradients of the loss at single examples."""

from fimo.gradients.base import PHI, Gradients
from fimo.gradients.source import gradient_source

__all__ = ["PHI", "Gradients", "gradient_source"]
