"""The one exception that a user is meant to read."""

from .redaction import redact


class SlatError(Exception):
    """A mistake in the input, told in one sentence that names the field or file; secrets in URIs are left out.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str = ""):
        super().__init__(redact(message))
