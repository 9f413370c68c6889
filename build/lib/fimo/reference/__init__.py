"""The slow, obvious twins of what the package computes, in float64."""
