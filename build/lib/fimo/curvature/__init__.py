"""Curvature times vectors: G or H, in the dual or in the space of the parameters, and functions of G."""

# Raise it when numbers change.
VERSION = 1
