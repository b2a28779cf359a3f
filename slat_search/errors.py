"""The exception whose message is for the user, and hints in its words."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from .redaction import redact


class SlatError(Exception):
    """Invalid input, explained in one sentence that names the field or file; secrets in URIs are removed.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str = ""):
        super().__init__(redact(message))


def closest(name: str, known: Collection[str]) -> str:
    """Return the one of ``known`` that is most like ``name``; empty if none is like it."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")


def did_you_mean(name: str, known: Collection[str], before: str = "; ", after: str = "") -> str:
    """Return a hint at the :func:`closest` of ``known``; empty if there is none."""
    close = closest(name, known)
    return f"{before}did you mean {close}?{after}" if close else ""
