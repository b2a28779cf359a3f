"""Rows from and to files, value for value: CSV and TSV as text, JSON and Parquet with their own types.

Files are opened by their path and by nothing else, so that a name is never taken as a pattern or an address.
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
_ENDINGS = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
MOST_BYTES = 2**31  # of CSV, TSV and JSON, which take several times that in memory
TOO_LARGE = f"it has more than {MOST_BYTES // 2**30} GiB; make it Parquet, or part it into several files"
_NAMES_SHOWN = 20
_NAME_WIDTH = 40


@dataclass(frozen=True)
class Rows:
    """Columns of a file or of a dataset.

    Attributes:
        where: file or dataset, for messages.
        columns: values by column: a list, or a column of Arrow or of ``datasets``.
        names: label names, of columns whose values are their places.
        notes: what a reader of the file should know, a sentence each.
        metadata: of the Parquet file.
    """

    where: str
    columns: Mapping[str, Any]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metadata: Mapping[bytes, bytes] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def values(self, column: str) -> list[Any]:
        """The values of a column, as Python has them.

        Raises:
            SlatError: a value that Python has not, as a date after the year 9999.
        """
        values = self.columns[column]
        if not isinstance(values, pyarrow.ChunkedArray):
            return list(values)
        try:
            return values.to_pylist()
        except (ValueError, OverflowError, pyarrow.ArrowException) as error:
            raise SlatError(f"{self.where}: column {column!r} cannot be read: {first_line(error)}") from error

    def with_columns(self, columns: Mapping[str, Sequence[Any]]) -> Rows:
        """The same rows with more columns."""
        return replace(self, columns={**self.columns, **columns})


def check_ending(path: Path, field: str) -> None:
    """Check that a file of this name can be read and written.

    Raises:
        SlatError: it cannot; the message begins with ``field``.
    """
    if path.suffix.lower() not in ENDINGS:
        raise SlatError(f"{field}: {path} must end in {_ENDINGS}")


def read_rows(path: Path, field: str, quoting: Quoting | None = None, labels: str | None = None) -> Rows:
    """Read all columns of a file.

    Args:
        quoting: of CSV and TSV; by default as its ending says.
        labels: column that holds labels.

    Raises:
        SlatError: a missing or malformed file, or one of an unknown ending; the message begins with ``field``.
    """
    if not path.is_file():
        raise SlatError(f"{field}: {path} is no regular file" if path.exists() else f"{field}: no such file: {path}")
    check_ending(path, field)
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return _parquet(path)
        if path.stat().st_size > MOST_BYTES:
            raise MalformedError(TOO_LARGE)
        return parse_rows(path.read_bytes(), suffix, str(path), field, quoting, labels)
    except (MalformedError, OSError, pyarrow.ArrowException) as error:
        raise SlatError(f"{field}: cannot read {path}: {first_line(error)}") from error


def parse_rows(
    raw: bytes, suffix: str, where: str, field: str, quoting: Quoting | None = None, labels: str | None = None
) -> Rows:
    """Parse CSV, TSV or JSON; see :func:`read_rows`.

    Args:
        suffix: ending of a file of this form.
        where: source, for messages.

    Raises:
        MalformedError: it is not of this form.
    """
    text = _decoded(raw)
    if suffix in _SEPARATORS:
        return _delimited(text, where, _layout(suffix, quoting, field), labels)
    return Rows(where, objects_in(text, suffix))


def columns_of(rows: Rows) -> str:
    """The names of the columns, for messages; those with space around them in quotes."""
    names = [name if len(name) <= _NAME_WIDTH else name[:_NAME_WIDTH] + "..." for name in rows.columns]
    shown = [name if name.strip() == name != "" else repr(name) for name in names[:_NAMES_SHOWN]]
    left = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {left} more" if left else "")


def _layout(suffix: str, quoting: Quoting | None, field: str) -> Layout:
    option = "task.quoting" if field.startswith("task.") else "--quoting"
    return Layout(_SEPARATORS[suffix], (quoting or _DEFAULT_QUOTING[suffix]) == "quoted", option)


def _decoded(raw: bytes) -> str:
    if not raw.strip():
        raise MalformedError("the file is empty")
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise MalformedError("it is UTF-16; save it as UTF-8")
    try:
        return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", raw[: error.start])) + 1
        raise MalformedError(f"line {line} is not UTF-8; save the file in that encoding") from None


def _delimited(text: str, where: str, layout: Layout, labels: str | None) -> Rows:
    header, records = parse(text, layout, labels)
    columns: dict[str, list[str]] = {}
    for k, name in enumerate(header):
        values = [record.fields[k] for record in records]
        if name in columns:  # only a name of nothing can be there twice
            if any(values):
                raise MalformedError("it has two columns without a name")
            continue
        columns[name] = values
    return Rows(where, columns, notes=tuple(_notes(records, where, layout)))


def _notes(records: Sequence[Record], where: str, layout: Layout) -> Iterator[str]:
    wide = [
        (record.last - record.first + 1, row) for row, record in enumerate(records, 1) if record.last > record.first
    ]
    if wide:
        lines, row = max(wide)
        yield f"{where}: {_rows(len(wide))} with line breaks in quotes; row {row} takes {lines} lines"
    if not layout.quoted:
        quoted = [row for row, record in enumerate(records, 1) if any(map(_looks_quoted, record.fields))]
        if quoted:
            yield (
                f"{where}: {_rows(len(quoted))} with a text in quotes, which are taken as part of it, such as row "
                f"{quoted[0]}; where they hold fields together, set {layout.option} to quoted"
            )


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _looks_quoted(field: str) -> bool:
    """Whether a field stands in quotes as a writer of quoted fields leaves it."""
    return len(field) > 1 and field[0] == field[-1] == '"' and '"' not in field[1:-1].replace('""', "")


def _parquet(path: Path) -> Rows:
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
    """Check that a file as its ending says can hold these rows.

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
    """Write a file as its ending says.

    Raises:
        SlatError: unsupported values, or an unwritable file; the message begins with ``field``.
    """
    content = _content(rows, path, field, quoting)
    try:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        with whole_file(path) as part:
            if isinstance(content, str):
                part.write_bytes(content.encode("utf-8"))
            else:
                with part.open("wb") as file:
                    pyarrow.parquet.write_table(content, file)
    except OSError as error:
        raise SlatError(f"{field}: cannot write {path}: {error.strerror or error}") from error


def as_text(rows: Rows, suffix: str, layout: Layout | None = None) -> str:
    """Return the text of a file of this ending, by default quoted where needed; empty for Parquet, which is no text.

    Raises:
        MalformedError: a text that needs quotes where there are none.
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
    """A value as text."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=_cell)
    return str(value)
