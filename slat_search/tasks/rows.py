"""Read and write rows without a change of values: CSV and TSV as text, JSON and Parquet with their own types.

Files are opened by their path alone, so that a name is never taken for a pattern or an address.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from ..config.task import Quoting
from ..errors import SlatError
from ..files import whole_file, without_formula
from .delimited import Layout, MalformedError, Record, join, parse
from .objects import first_line, objects_in
from .parquet import arrow_table, label_names, read_table

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_DEFAULT_QUOTING: dict[str, Quoting] = {".csv": "quoted", ".tsv": "none"}
ENDINGS = (*_SEPARATORS, ".jsonl", ".json", ".parquet")
_ENDING_LIST = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
MOST_BYTES = 2**31  # of a file of CSV, TSV or JSON, which takes several times that in memory
TOO_LARGE = f"it has more than {MOST_BYTES // 2**30} GiB; make it Parquet, or part it into several files"
_MAX_NAMES = 20  # column names in a message
_MAX_NAME_LENGTH = 40  # characters of a column name in a message


@dataclass(frozen=True)
class Rows:
    """Columns of a file or of a dataset.

    Attributes:
        where: file or dataset, for messages.
        columns: values by column: a list, or a column of Arrow or of ``datasets``.
        names: label names by column, for columns whose values are indices into them.
        notes: sentences for the user on the file.
        metadata: metadata of the Parquet file.
    """

    where: str
    columns: Mapping[str, Any]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metadata: Mapping[bytes, bytes] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def values(self, column: str) -> list[Any]:
        """Return the values of a column as Python objects.

        Raises:
            SlatError: a value that Python cannot represent, such as a date after the year 9999.
        """
        values = self.columns[column]
        if not isinstance(values, pyarrow.ChunkedArray):
            return list(values)
        try:
            return values.to_pylist()
        except (ValueError, OverflowError, pyarrow.ArrowException) as error:
            raise SlatError(f"{self.where}: column {column!r} cannot be read: {first_line(error)}") from error

    def with_columns(self, columns: Mapping[str, Sequence[Any]]) -> Rows:
        """Return the rows with more columns."""
        return replace(self, columns={**self.columns, **columns})


def check_ending(path: Path, field: str) -> None:
    """Check that the ending of a file is one that can be read and written.

    Raises:
        SlatError: it cannot; the message begins with ``field``.
    """
    if path.suffix.lower() not in ENDINGS:
        raise SlatError(f"{field}: {path} must end in {_ENDING_LIST}")


def read_rows(path: Path, field: str, quoting: Quoting | None = None, labels: str | None = None) -> Rows:
    """Read all columns of a file.

    Args:
        quoting: quoting of CSV and TSV; by default that of the ending.
        labels: column of labels.

    Raises:
        SlatError: a missing or malformed file, or one of an unknown ending; the message begins with ``field``.
    """
    if not path.is_file():
        raise SlatError(f"{field}: {path} is no regular file" if path.exists() else f"{field}: no such file: {path}")
    check_ending(path, field)
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return _read_parquet(path)
        if path.stat().st_size > MOST_BYTES:
            raise MalformedError(TOO_LARGE)
        return parse_rows(path.read_bytes(), suffix, str(path), field, quoting, labels)
    except (MalformedError, OSError, pyarrow.ArrowException) as error:
        raise SlatError(f"{field}: cannot read {path}: {first_line(error)}") from error


def parse_rows(
    raw: bytes, suffix: str, source: str, field: str, quoting: Quoting | None = None, labels: str | None = None
) -> Rows:
    """Parse CSV, TSV or JSON; see :func:`read_rows`.

    Args:
        suffix: ending of a file in this format.
        source: source, for messages.

    Raises:
        MalformedError: it is not in this format.
    """
    text = decode(raw)
    if suffix in _SEPARATORS:
        return _parse_delimited(text, source, _layout(suffix, quoting, field), labels)
    return Rows(source, objects_in(text, suffix))


def columns_of(rows: Rows) -> str:
    """Return the names of the columns as text for messages; names with space around them stand in quotes."""
    names = [name if len(name) <= _MAX_NAME_LENGTH else name[:_MAX_NAME_LENGTH] + "..." for name in rows.columns]
    visible = [name if name.strip() == name != "" else repr(name) for name in names[:_MAX_NAMES]]
    remaining = len(names) - len(visible)
    return (", ".join(visible) or "none") + (f" and {remaining} more" if remaining else "")


def _layout(suffix: str, quoting: Quoting | None, field: str) -> Layout:
    option = "task.quoting" if field.startswith("task.") else "--quoting"
    return Layout(_SEPARATORS[suffix], (quoting or _DEFAULT_QUOTING[suffix]) == "quoted", option)


def decode(raw: bytes) -> str:
    """Return the text of bytes in UTF-8, without a byte order mark.

    Raises:
        MalformedError: no text, or another encoding; the message names the line.
    """
    if not raw.strip():
        raise MalformedError("the file is empty")
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise MalformedError("it is UTF-16; save it as UTF-8")
    try:
        return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", raw[: error.start])) + 1
        raise MalformedError(f"line {line} is not UTF-8; save the file in that encoding") from None


def _parse_delimited(text: str, source: str, layout: Layout, labels: str | None) -> Rows:
    header, records = parse(text, layout, labels)
    columns: dict[str, list[str]] = {}
    for k, name in enumerate(header):
        values = [record.fields[k] for record in records]
        if name in columns:  # only the empty name can occur twice
            if any(values):
                raise MalformedError("it has two columns without a name")
            continue
        columns[name] = values
    return Rows(source, columns, notes=tuple(_layout_notes(records, source, layout)))


def _layout_notes(records: Sequence[Record], source: str, layout: Layout) -> Iterator[str]:
    multiline = [
        (record.last - record.first + 1, row) for row, record in enumerate(records, 1) if record.last > record.first
    ]
    if multiline:
        lines, row = max(multiline)
        yield f"{source}: {_row_count(len(multiline))} with line breaks in quotes; row {row} takes {lines} lines"
    if not layout.quoted:
        quoted_rows = [row for row, record in enumerate(records, 1) if any(map(_looks_quoted, record.fields))]
        if quoted_rows:
            yield (
                f"{source}: {_row_count(len(quoted_rows))} with a text in quotes, which are taken as part of it, such "
                f"as row {quoted_rows[0]}; where they hold fields together, set {layout.option} to quoted"
            )


def _row_count(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _looks_quoted(field: str) -> bool:
    """Return whether a field looks as if a writer of quoted fields had put it in quotes."""
    return len(field) > 1 and field[0] == field[-1] == '"' and '"' not in field[1:-1].replace('""', "")


def _read_parquet(path: Path) -> Rows:
    table = read_table(path)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    return Rows(str(path), columns, label_names(table), metadata=table.schema.metadata)


def without_formulas(rows: Rows, suffix: str) -> Rows:
    """Return rows for a file of this ending in which no text is a formula to a spreadsheet: those of CSV and TSV by
    :func:`.without_formula`, others as they are."""
    if suffix not in _SEPARATORS:
        return rows
    columns = {
        without_formula(name): [without_formula(_cell(value)) for value in rows.values(name)] for name in rows.columns
    }
    return replace(rows, columns=columns)


def check_writable(rows: Rows, path: Path, field: str, quoting: Quoting | None = None) -> None:
    """Check that rows can be written in the format of the ending.

    Raises:
        SlatError: it cannot; the message begins with ``field``.
    """
    _content(rows, path, field, quoting)


def _content(rows: Rows, path: Path, field: str, quoting: Quoting | None) -> str | pyarrow.Table:
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return arrow_table(rows.columns, rows.metadata)
        return as_text(rows, suffix, _layout(suffix, quoting, field) if suffix in _SEPARATORS else None)
    except MalformedError as error:
        raise SlatError(f"{field}: cannot write {path}: {error}") from error


def write_rows(rows: Rows, path: Path, field: str, quoting: Quoting | None = None) -> None:
    """Write rows in the format of the ending.

    Raises:
        SlatError: unsupported values, or an unwritable file; the message begins with ``field``.
    """
    content = _content(rows, path, field, quoting)
    try:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        with whole_file(path) as staging:
            if isinstance(content, str):
                staging.write_bytes(content.encode("utf-8"))
            else:
                with staging.open("wb") as file:
                    pyarrow.parquet.write_table(content, file)
    except OSError as error:
        raise SlatError(f"{field}: cannot write {path}: {error.strerror or error}") from error


def as_text(rows: Rows, suffix: str, layout: Layout | None = None) -> str:
    """Return the text of a file of this ending: CSV or TSV, by default with quotes where needed, or else JSON.

    Raises:
        MalformedError: a text that needs quotes in a layout without quotes.
    """
    values = {name: rows.values(name) for name in rows.columns}
    if suffix in _SEPARATORS:
        layout = layout or Layout(_SEPARATORS[suffix], True, "--quoting")
        lines = [join(values, layout), *(join(map(_cell, row), layout) for row in zip(*values.values(), strict=True))]
        return "\n".join(lines) + "\n"
    objects = [
        json.dumps(dict(zip(values, row, strict=True)), ensure_ascii=False, default=_cell)
        for row in zip(*values.values(), strict=True)
    ]
    return "\n".join(objects) + "\n" if suffix == ".jsonl" else "[" + ",\n".join(objects) + "]\n"


def _cell(value: Any) -> str:
    """Return the text of a value in a cell."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=_cell)
    return str(value)
