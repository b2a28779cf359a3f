"""Read texts from an unnamed stream, whose first characters give its format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..config.task import Quoting
from ..errors import SlatError
from .delimited import MalformedError
from .rows import MOST_BYTES, TOO_LARGE, Rows, parse_rows

WHERE = "standard input"


def read_stream(raw: bytes, usual: Sequence[str], columns: Sequence[str] = (), quoting: Quoting | None = None) -> Rows:
    """Read JSON (a list, or an object a line), CSV or TSV whose first line names the columns, or else a text a line.

    Args:
        usual: columns of texts in training.
        columns: where the texts are said to be; lines alone have none.
        quoting: of CSV and TSV.

    Raises:
        SlatError: empty or damaged input, or more than 2 GiB.
    """
    if len(raw) > MOST_BYTES:
        raise SlatError(f"--file: cannot read {WHERE}: {TOO_LARGE}")
    begin = raw.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not begin:
        raise SlatError("--file: nothing came in through standard input")
    first = re.split(rb"[\r\n]", begin, maxsplit=1)[0].decode("utf-8", "replace")
    wanted = set(columns or usual)
    named = next((end for end, sign in ((".csv", ","), (".tsv", "\t")) if wanted <= set(_names(first, sign))), None)
    suffix = ".json" if begin[:1] in (b"{", b"[") else named
    try:
        if suffix is None and not columns and len(usual) == 1:
            return _lines(raw, usual[0])
        return parse_rows(raw, suffix or ".csv", WHERE, "--file", quoting)
    except MalformedError as error:
        raise SlatError(f"--file: cannot read {WHERE}: {error}") from error


def _names(line: str, separator: str) -> list[str]:
    return [name.strip().removeprefix('"').removesuffix('"') for name in line.split(separator)]


def _lines(raw: bytes, column: str) -> Rows:
    """Return a row a line that is not blank; as TSV without quotes, every sign of a line is text."""
    rows = parse_rows(column.encode() + b"\n" + raw.replace(b"\t", b" "), ".tsv", WHERE, "--file", "none")
    note = f"{WHERE}: its first line names no column {column!r}, so that each line is read as a text"
    return replace(rows, notes=(note,))
