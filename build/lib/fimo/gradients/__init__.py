"""Calculus at the final model: gradients at single examples, and curvature times vectors."""

from fimo.gradients.base import PHI, Gradients, Vectors
from fimo.gradients.dense import DenseGradients, per_example_gradients
from fimo.gradients.source import GradientSource

__all__ = ["PHI", "GradientSource", "Gradients", "DenseGradients", "Vectors", "per_example_gradients"]

# Raise it when numbers change.
VERSION = 1
