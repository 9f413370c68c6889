"""The one exception that is meant for the user and not for the programmer."""


class UserError(Exception):
    """Something the user can put right: the message says what was expected, what was found and what to do."""
