"""CSV and TSV as records of text, exactly: every line of a file is accounted for, and a doubt is an error.

Quoted fields follow RFC 4180: a field may stand in double quotes, and then holds separators and line breaks; a quote in
it is doubled. A quote elsewhere is text. Where fields are not quoted, every line is a record and quotes are text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

_BREAK = re.compile(r"\r\n|\r|\n")
_QUOTED = re.compile(r'"((?:[^"]++|"")*+)"')
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


class MalformedError(Exception):
    """A fault of a file, and its row."""


@dataclass(frozen=True)
class Record:
    """The fields of a row, and the first and the last line of the file that it takes, counted from 1."""

    fields: list[str]
    first: int
    last: int


@dataclass(frozen=True)
class Layout:
    """Form in which the fields of a file are written.

    Attributes:
        separator: one character.
        quoted: whether a field may stand in double quotes.
        option: what a user sets to change ``quoted``, for messages.
    """

    separator: str
    quoted: bool
    option: str


def parse(text: str, layout: Layout, labels: str | None = None) -> tuple[list[str], list[Record]]:
    """Header and rows. Blank lines are skipped.

    Args:
        labels: column that holds labels, which helps to tell a text of several lines from swallowed rows.

    Raises:
        MalformedError: a quote that is not closed or closes within a field; a row with more or fewer fields than the
            header; a field that holds whole rows; a column name that stands twice.
    """
    records = _records(text, layout)
    if not records:
        raise MalformedError("the file is empty")
    header, rows = records[0].fields, records[1:]
    if not rows:
        raise MalformedError("no row follows the header")
    if twice := [name for name, count in Counter(header).items() if name and count > 1]:
        raise MalformedError(f"it has two columns {twice[0]!r}")
    for number, row in enumerate(rows, 1):
        if len(row.fields) != len(header):
            before = rows[number - 2].fields if number > 1 else []
            hint = other_separator(header)
            raise MalformedError(_wrong_width(number, row, len(header), layout, before) + hint)
    _check_swallowed(rows, header, layout, labels)
    return header, rows


def join(fields: Iterable[str], layout: Layout) -> str:
    """One line, without its end; fields are quoted where they need it.

    Raises:
        MalformedError: a field that cannot be written without quotes.
    """
    line = list(fields)
    special = {"\r", "\n", layout.separator}
    if layout.quoted:
        whole = [_in_quotes(f) if '"' in f or not special.isdisjoint(f) else f for f in line]
        return layout.separator.join(whole) or '""'  # a blank line would be skipped
    for field in line:
        if not special.isdisjoint(field):
            raise MalformedError(f"a tab or line break in {field[:40]!r} needs quotes: set {layout.option} to quoted")
    return layout.separator.join(line)


def _in_quotes(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


def _records(text: str, layout: Layout) -> list[Record]:
    records: list[Record] = []
    place, line = 0, 1
    while place < len(text):
        line_break = _BREAK.search(text, place)
        end, after = line_break.span() if line_break else (len(text), len(text))
        raw, last = text[place:end], line
        if layout.quoted and '"' in raw:
            fields, after = _quoted_record(text, place, layout, len(records), line)
            last += len(_BREAK.findall(text, place, after)) - bool(_BREAK.match(text[after - 1 : after]))
        else:
            fields = raw.split(layout.separator)
        if raw:
            records.append(Record(fields, line, last))
        place, line = after, last + 1
    return records


def _quoted_record(text: str, place: int, layout: Layout, row: int, line: int) -> tuple[list[str], int]:
    """The fields of the record that begins at ``place``, and where the next one begins."""
    plain = _plain(layout.separator)
    fields: list[str] = []
    while True:
        if text.startswith('"', place):
            field = _QUOTED.match(text, place)
            end = field.end() if field else len(text)
            if not field or not (end == len(text) or text[end] in (layout.separator, "\r", "\n")):
                closing = line + len(_BREAK.findall(text, place, end))
                ends = f"closes within a field, in line {closing}" if field else "is never closed"
                raise MalformedError(f"{_named(row, line)} begins a field with a quote that {ends}; {_remedy(layout)}")
            fields.append(field[1].replace('""', '"'))
        else:
            field = plain.match(text, place)
            assert field is not None  # of nothing at least
            end = field.end()
            fields.append(field[0])
        if end == len(text) or text[end] != layout.separator:
            stop = _BREAK.match(text, end)
            return fields, stop.end() if stop else end
        place = end + 1


@cache
def _plain(separator: str) -> re.Pattern[str]:
    """A field without quotes."""
    return re.compile(rf"[^\r\n{re.escape(separator)}]*+")


def _named(row: int, line: int) -> str:
    return f"row {row} (line {line})" if row else "the header"


def _remedy(layout: Layout) -> str:
    return (
        f'write a quote of the text as "" in a field within quotes, or set {layout.option} to none if quotes are text'
    )


def _wrong_width(number: int, row: Record, width: int, layout: Layout, before: Sequence[str]) -> str:
    count = len(row.fields)
    sentence = f"{_named(number, row.first)} has {count} field{'s' * (count > 1)}, but the header has {width}"
    separator = "tab" if layout.separator == "\t" else "comma"
    if count > width and not any(field.strip() for field in row.fields[width:]):
        return f"{sentence}: a needless {separator} ends the line"
    if any('\\"' in field for field in row.fields) and layout.quoted:
        return f'{sentence}; a field with a {separator} stands in quotes, and a quote in it is written "", not \\"'
    if not layout.quoted and any(field.startswith('"') for field in (*before, *row.fields)):
        return f"{sentence}; where quotes hold fields together, set {layout.option} to quoted"
    if count > width > 1:
        must = "must stand in quotes" if layout.quoted else f"needs quotes: set {layout.option} to quoted"
        return f"{sentence}; a field with a {separator} {must}"
    return sentence


def other_separator(header: Sequence[str]) -> str:
    """Return the message on a file that seems to have one column, as another character separates its fields."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
        if len(header) == 1 and separator in header[0]:
            return f"; its fields are separated by {name}: a .csv wants commas, a .tsv tabs"
    return ""


def _check_swallowed(rows: Sequence[Record], header: Sequence[str], layout: Layout, labels: str | None) -> None:
    """Check that no field of several lines is a stray quote's: one whose lines are rows of the file themselves.

    Such a field has as many separators on each line as a row has, and what stands between them looks like the other
    values of those columns. A column of any text says nothing; where all are such, rows are told from prose by
    separators without a space behind them.
    """
    width = len(header)
    wide = [(n, row, k) for n, row in enumerate(rows, 1) if row.last > row.first for k in _several_lines(row)]
    suspects = [(n, row, parts) for n, row, k in wide if (parts := _as_rows(row.fields[k], k, width, layout))]
    if not suspects:
        return
    others = [[row.fields[k] for row in rows if row.first == row.last] for k in range(width)]
    for number, row, parts in suspects:
        likely = [_alike(parts[k], others[k], header[k] == labels) for k in range(width)]
        values = [value for column in parts for value in column]
        if False in likely or (True not in likely and any(not v or v[0].isspace() for v in values)):
            continue
        raise MalformedError(
            f"{_named(number, row.first)} begins a field with a quote that swallows whole rows, down to line "
            f"{row.last}; {_remedy(layout)}"
        )


def _several_lines(row: Record) -> list[int]:
    return [k for k, field in enumerate(row.fields) if _BREAK.search(field)]


def _as_rows(field: str, k: int, width: int, layout: Layout) -> list[list[str]] | None:
    """By column, what the lines of field ``k`` hold if they are rows; None where they cannot be."""
    lines = [line.split(layout.separator) for line in _BREAK.split(field)]
    first, *between, last = lines
    whole = [line for line in between if line != [""]]
    if width == 1 or len(first) != width - k or len(last) != k + 1 or any(len(line) != width for line in whole):
        return None
    columns: list[list[str]] = [[] for _ in range(width)]
    for start, line in ((k, first), *((0, line) for line in whole), (0, last)):
        for column, value in enumerate(line, start):
            columns[column].append(value)
    return columns


def _alike(values: Sequence[str], others: Sequence[str], of_labels: bool) -> bool | None:
    """Whether ``values`` occur among ``others`` of a column; None if the column holds any text."""
    if others and all(_NUMBER.fullmatch(value) for value in others):
        return all(_NUMBER.fullmatch(value) for value in values)
    known = {value.strip() for value in others}
    new = {value.strip() for value in values}
    if others and (of_labels or 3 * len(known) <= len(others)):  # a few values that come again and again
        share = sum(value.strip() in known for value in values) / len(values)
        if len(others) >= len(values) or share == 0:
            return share >= 0.5
    return True if 3 * len(known | new) <= len(values) + len(others) else None
