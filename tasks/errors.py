"""The two ways in which a command ends badly on purpose."""


class InputError(ValueError):
    """The user gave something that cannot be used. Exit code 2.

    The message is one line: what is wrong, where (flag, file, row), and the next step.
    """


class WorkFailed(RuntimeError):
    """Work was started and some of it failed; everything that finished is kept. Exit code 1."""
