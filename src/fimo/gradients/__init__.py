"""Calculus at the final model: gradients of the loss at single examples."""

from fimo.gradients.base import PHI, Gradients
from fimo.gradients.per_example import MatrixGradients, per_example_gradients
from fimo.gradients.source import gradient_source

__all__ = ["PHI", "Gradients", "MatrixGradients", "gradient_source", "per_example_gradients"]
