"""Calculus at the final model: gradients at single examples, and curvature times vectors."""

from fimo.gradients.base import PHI, Gradients, Vectors
from fimo.gradients.dense import MatrixGradients, per_example_gradients
from fimo.gradients.source import GradientSource

__all__ = ["PHI", "GradientSource", "Gradients", "MatrixGradients", "Vectors", "per_example_gradients"]
