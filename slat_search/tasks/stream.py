"""Read texts from a stream whose format is recognized by its first characters."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import replace

from ..config.task import Quoting
from ..errors import SlatError
from .delimited import MalformedError
from .rows import MOST_BYTES, TOO_LARGE, Rows, decode, parse_rows

WHERE = "standard input"


def read_stream(
    raw: bytes, text_columns: Sequence[str], columns: Sequence[str] = (), quoting: Quoting | None = None
) -> Rows:
    """Read JSON (a list, or one object per line), CSV or TSV with a header, or else one text per line.

    Args:
        text_columns: columns of texts in training.
        columns: columns of texts that the user names; plain lines have none.
        quoting: quoting of CSV and TSV.

    Raises:
        SlatError: empty or damaged input, or more than 2 GiB.
    """
    if len(raw) > MOST_BYTES:
        raise SlatError(f"--file: cannot read {WHERE}: {TOO_LARGE}")
    raw = raw.removeprefix(codecs.BOM_UTF8)
    content = raw.lstrip()
    if not content:
        raise SlatError("--file: nothing came in through standard input")
    header = re.split(rb"[\r\n]", content, maxsplit=1)[0].decode("utf-8", "replace")
    suffix = ".json" if content[:1] in (b"{", b"[") else _header_suffix(header, set(columns or text_columns))
    try:
        if suffix is None and not columns and len(text_columns) == 1:
            return _line_rows(raw, text_columns[0])
        return parse_rows(raw, suffix or ".csv", WHERE, "--file", quoting)
    except MalformedError as error:
        raise SlatError(f"--file: cannot read {WHERE}: {error}") from error


def _header_suffix(header: str, names: set[str]) -> str | None:
    """Return the ending of CSV or TSV if ``header`` has all ``names`` in that format; else None."""
    for suffix, separator in ((".csv", ","), (".tsv", "\t")):
        if names <= set(_field_names(header, separator)):
            return suffix
    return None


def _field_names(line: str, separator: str) -> list[str]:
    return [name.strip().removeprefix('"').removesuffix('"') for name in line.split(separator)]


def _line_rows(raw: bytes, column: str) -> Rows:
    """Return one row for each line that is not blank; read as TSV without quotes, every character of a line is text."""
    decode(raw)  # a line that is not UTF-8 is named by its own number, without the header
    rows = parse_rows(column.encode() + b"\n" + raw.replace(b"\t", b" "), ".tsv", WHERE, "--file", "none")
    note = f"{WHERE}: its first line names no column {column!r}, so that each line is read as a text"
    return replace(rows, notes=(note,))
