"""The P of the attribution equation: one file per idea."""
