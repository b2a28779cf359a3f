"""Text for terminals, pipes and files of any encoding: what one cannot hold is written in plainer signs."""

from __future__ import annotations

import codecs
import io
import sys

import click

_PLAIN = {"±": "+-", "≈": "~", "×": "x", "·": "*", "≤": "<=", "≥": ">=", "→": "->", "…": "...", "–": "-", "—": "-"}
_HANDLER = "slat_search.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    rest = error.object[error.start : error.end]
    escaped = (_PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in rest)
    return "".join(escaped), error.end


codecs.register_error(_HANDLER, _plain)


def hold_every_sign() -> None:
    """Let standard output and errors take every sign, whatever the locale.

    An ASCII locale is one that nobody set: UTF-8 is written there, as Python itself does by default (PEP 540). In other
    encodings signs that they lack become plainer ones, unless the user chose something else (`PYTHONIOENCODING`).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape", "backslashreplace"):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if is_ascii else stream.encoding, errors=_HANDLER)


def echo_data(text: str) -> None:
    """Print a table or JSON that programs read: as it is, so in UTF-8 where the terminal's encoding cannot hold it."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        click.echo(text.encode("utf-8"), nl=False)
    else:
        click.echo(text, nl=False)
