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
    """A file that cannot be read or written; the message names the row or line of the fault, where it has one."""


@dataclass(frozen=True)
class Record:
    """The fields of a row, and its first and last line in the file, counted from 1."""

    fields: list[str]
    first: int
    last: int


@dataclass(frozen=True)
class Layout:
    """Format in which the fields of a file are written.

    Attributes:
        separator: one character.
        quoted: whether a field may stand in double quotes.
        option: name of the option that sets ``quoted``, for messages.
    """

    separator: str
    quoted: bool
    option: str


def parse(text: str, layout: Layout, labels: str | None = None) -> tuple[list[str], list[Record]]:
    """Return header and rows. Blank lines are skipped.

    Args:
        labels: name of the column of labels, by which a text of several lines is told from swallowed rows.

    Raises:
        MalformedError: a quote that is not closed or closes within a field; a row with more or fewer fields than the
            header; a field that holds whole rows; a column name that occurs twice.
    """
    records = _records(text, layout)
    if not records:
        raise MalformedError("the file is empty")
    header, rows = records[0].fields, records[1:]
    if not rows:
        raise MalformedError("no row follows the header")
    if duplicates := [name for name, count in Counter(header).items() if name and count > 1]:
        raise MalformedError(f"it has two columns {duplicates[0]!r}")
    for number, row in enumerate(rows, 1):
        if len(row.fields) != len(header):
            previous_fields = rows[number - 2].fields if number > 1 else []
            hint = other_separator(header)
            raise MalformedError(_wrong_width(number, row, len(header), layout, previous_fields) + hint)
    _check_swallowed(rows, header, layout, labels)
    return header, rows


def join(fields: Iterable[str], layout: Layout) -> str:
    """Return one line without its line break; fields are quoted where they need it.

    Raises:
        MalformedError: a field that cannot be written without quotes.
    """
    row = list(fields)
    special = {"\r", "\n", layout.separator}
    if layout.quoted:
        cells = [_in_quotes(field) if '"' in field or not special.isdisjoint(field) else field for field in row]
        return layout.separator.join(cells) or '""'  # a blank line would be skipped
    for field in row:
        if not special.isdisjoint(field):
            raise MalformedError(f"a tab or line break in {field[:40]!r} needs quotes: set {layout.option} to quoted")
    return layout.separator.join(row)


def _in_quotes(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


def _records(text: str, layout: Layout) -> list[Record]:
    records: list[Record] = []
    position, line = 0, 1
    while position < len(text):
        line_break = _BREAK.search(text, position)
        end, next_position = line_break.span() if line_break else (len(text), len(text))
        raw, last_line = text[position:end], line
        if layout.quoted and '"' in raw:
            fields, next_position = _quoted_record(text, position, layout, len(records), line)
            ends_with_break = bool(_BREAK.match(text[next_position - 1 : next_position]))
            last_line += len(_BREAK.findall(text, position, next_position)) - ends_with_break
        else:
            fields = raw.split(layout.separator)
        if raw:
            records.append(Record(fields, line, last_line))
        position, line = next_position, last_line + 1
    return records


def _quoted_record(text: str, position: int, layout: Layout, row: int, line: int) -> tuple[list[str], int]:
    """Return the fields of the record that begins at ``position``, and the position of the next one."""
    unquoted = _unquoted_pattern(layout.separator)
    fields: list[str] = []
    while True:
        if text.startswith('"', position):
            field = _QUOTED.match(text, position)
            end = field.end() if field else len(text)
            if not field or not (end == len(text) or text[end] in (layout.separator, "\r", "\n")):
                end_line = line + len(_BREAK.findall(text, position, end))
                fault = f"closes within a field, in line {end_line}" if field else "is never closed"
                raise MalformedError(
                    f"{_row_name(row, line)} begins a field with a quote that {fault}; {_remedy(layout)}"
                )
            fields.append(field[1].replace('""', '"'))
        else:
            field = unquoted.match(text, position)
            assert field is not None  # it matches at least the empty text
            end = field.end()
            fields.append(field[0])
        if end == len(text) or text[end] != layout.separator:
            line_break = _BREAK.match(text, end)
            return fields, line_break.end() if line_break else end
        position = end + 1


@cache
def _unquoted_pattern(separator: str) -> re.Pattern[str]:
    """Return the pattern of a field without quotes."""
    return re.compile(rf"[^\r\n{re.escape(separator)}]*+")


def _row_name(row: int, line: int) -> str:
    return f"row {row} (line {line})" if row else "the header"


def _remedy(layout: Layout) -> str:
    return (
        f'write a quote of the text as "" in a field within quotes, or set {layout.option} to none if quotes are text'
    )


def _wrong_width(number: int, row: Record, width: int, layout: Layout, previous_fields: Sequence[str]) -> str:
    count = len(row.fields)
    message = f"{_row_name(number, row.first)} has {count} field{'s' * (count > 1)}, but the header has {width}"
    separator = "tab" if layout.separator == "\t" else "comma"
    if count > width and not any(field.strip() for field in row.fields[width:]):
        return f"{message}: a needless {separator} ends the line"
    if any('\\"' in field for field in row.fields) and layout.quoted:
        return f'{message}; a field with a {separator} stands in quotes, and a quote in it is written "", not \\"'
    if not layout.quoted and any(field.startswith('"') for field in (*previous_fields, *row.fields)):
        return f"{message}; where quotes hold fields together, set {layout.option} to quoted"
    if count > width > 1:
        remedy = "must stand in quotes" if layout.quoted else f"needs quotes: set {layout.option} to quoted"
        return f"{message}; a field with a {separator} {remedy}"
    return message


def other_separator(header: Sequence[str]) -> str:
    """Return a hint for a file that seems to have one column because another character separates its fields."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
        if len(header) == 1 and separator in header[0]:
            return f"; its fields are separated by {name}: a .csv wants commas, a .tsv tabs"
    return ""


def _check_swallowed(rows: Sequence[Record], header: Sequence[str], layout: Layout, labels: str | None) -> None:
    """Check that no field of several lines holds whole rows of the file, which a stray quote has swallowed.

    Such a field has as many separators on each line as a row has, and the values between them look like the other
    values of those columns. A column of free text decides nothing; where all columns are free text, rows are told from
    prose by separators without a space after them.
    """
    width = len(header)
    multiline = [(n, row, k) for n, row in enumerate(rows, 1) if row.last > row.first for k in _multiline_fields(row)]
    suspects = [(n, row, parts) for n, row, k in multiline if (parts := _columns_in(row.fields[k], k, width, layout))]
    if not suspects:
        return
    columns = [[row.fields[k] for row in rows if row.first == row.last] for k in range(width)]
    for number, row, parts in suspects:
        fits = [_fits(parts[k], columns[k], header[k] == labels) for k in range(width)]
        values = [value for part in parts for value in part]
        if False in fits or (True not in fits and any(not value or value[0].isspace() for value in values)):
            continue
        raise MalformedError(
            f"{_row_name(number, row.first)} begins a field with a quote that swallows whole rows, down to line "
            f"{row.last}; {_remedy(layout)}"
        )


def _multiline_fields(row: Record) -> list[int]:
    """Return the numbers of the fields that hold line breaks."""
    return [k for k, field in enumerate(row.fields) if _BREAK.search(field)]


def _columns_in(field: str, k: int, width: int, layout: Layout) -> list[list[str]] | None:
    """Return the values by column in the lines of field ``k`` if these are rows; None where they cannot be rows."""
    lines = [line.split(layout.separator) for line in _BREAK.split(field)]
    first, *middle, last = lines
    rows = [line for line in middle if line != [""]]
    if width == 1 or len(first) != width - k or len(last) != k + 1 or any(len(line) != width for line in rows):
        return None
    columns: list[list[str]] = [[] for _ in range(width)]
    for start, line in ((k, first), *((0, line) for line in rows), (0, last)):
        for column, value in enumerate(line, start):
            columns[column].append(value)
    return columns


def _fits(values: Sequence[str], column: Sequence[str], is_label: bool) -> bool | None:
    """Return whether ``values`` look like those of a column; None if the column holds free text."""
    if column and all(_NUMBER.fullmatch(value) for value in column):
        return all(_NUMBER.fullmatch(value) for value in values)
    column_values = {value.strip() for value in column}
    new_values = {value.strip() for value in values}
    if column and (is_label or 3 * len(column_values) <= len(column)):  # a few values that recur
        share = sum(value.strip() in column_values for value in values) / len(values)
        if len(column) >= len(values) or share == 0:
            return share >= 0.5
    return True if 3 * len(column_values | new_values) <= len(values) + len(column) else None
