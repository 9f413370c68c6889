"""The exceptions that are meant for the user and not for the programmer."""


class UserError(Exception):
    """Something the user can put right: the message says what was expected, what was found and what to do."""


class Unavailable(UserError):
    """What is wanted can't be had for this data set, or not on this machine; for others it may be."""


class Diverged(UserError):
    """Training the final model left the finite numbers: in a search for its settings, the worst that can be."""
