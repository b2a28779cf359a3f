"""The exception whose message is for the user."""

from .redaction import redact


class SlatError(Exception):
    """Invalid input, explained in one sentence that names the field or file; secrets in URIs are removed.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str = ""):
        super().__init__(redact(message))
