"""The error of a user who can do something about it."""


class UserError(ValueError):
    """What was expected, what came, and what to do; the tools print it without a traceback."""
