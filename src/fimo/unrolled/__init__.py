"""Methods that know how much further training there was."""

# Raise it when numbers change.
VERSION = 2
