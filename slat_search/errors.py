"""The one exception that a user is meant to read."""


class SlatError(Exception):
    """A mistake in the input, told in one sentence that names the field or file.

    The command line prints it without a traceback and exits with code 2.
    """
