"""Text for terminals, pipes and files of any encoding: what one cannot hold is written in plainer signs. Answers go to
standard output, and messages of the library to standard error."""

from __future__ import annotations

import codecs
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from ..redaction import redact

_PLAIN = {"±": "+-", "≈": "~", "×": "x", "·": "*", "≤": "<=", "≥": ">=", "→": "->", "…": "...", "–": "-", "—": "-"}
_HANDLER = "slat_search.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    rest = error.object[error.start : error.end]
    escaped = (_PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in rest)
    return "".join(escaped), error.end


codecs.register_error(_HANDLER, _plain)


def reconfigure_streams() -> None:
    """Let standard output and error take every character.

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


def echo_json(values: Iterable[Any]) -> None:
    """Print JSON for programs, an object a line."""
    for value in values:
        echo_data(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")


class _StandardError(logging.Handler):
    """Writes lines of progress as they are, and other records after the name of their level."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        text = redact(f"{level}{self.format(record)}")
        print(text, file=sys.stderr, flush=True)  # not cached: a live table replaces it


@contextmanager
def messages() -> Iterator[None]:
    """Show what the library logs, from progress upwards, and each warning of Python in one line."""
    library, handler = logging.getLogger("slat_search"), _StandardError()

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
        library.warning(str(message))
        library.debug(f"{category.__name__} of {filename}, line {lineno}")

    library.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore", DeprecationWarning)  # of other libraries: nothing for users to change
            warnings.showwarning = show
            yield
    finally:
        library.removeHandler(handler)
        library.setLevel(logging.NOTSET)


def verbosity(command: Callable[..., None]) -> Callable[..., None]:
    """Options of commands that take long: how much of what the library logs is shown."""
    for name, level, text in (
        ("quiet", logging.ERROR, "Print nothing but errors and the answer."),
        ("verbose", logging.DEBUG, "Print details, too: what is read from caches, which checkpoint is resumed."),
    ):

        def choose(ctx: click.Context, parameter: click.Parameter, wanted: bool, level: int = level) -> None:
            if wanted:
                logging.getLogger("slat_search").setLevel(level)

        option = click.option(f"--{name}", f"-{name[0]}", is_flag=True, expose_value=False, callback=choose, help=text)
        command = option(command)
    return command


def settings(command: Callable[..., None]) -> Callable[..., None]:
    """Option of commands that take a configuration: fields that are set beside the file."""
    help = (
        "Set a field of the configuration, e.g. `search.trials=40` or `baselines.0.size=4`: names and places in lists, "
        "joined by dots, and a YAML value. May be given several times."
    )
    return click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=help)(command)
