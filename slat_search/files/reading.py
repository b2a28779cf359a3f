"""Read files of this package; each error is one sentence that names the file."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ..errors import SlatError
from .digests import check_signature
from .writing import write_bytes

_log = logging.getLogger(__name__)
MOST_BYTES = 2**30  # of a text or JSON file
_REMEDY = "remove this line and those after it, and what they tell of is done again"


def read_bytes(path: Path, max_bytes: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file.

    Raises:
        SlatError: missing, no regular file, not readable, or larger than ``max_bytes``.
    """
    try:
        if not path.is_file():  # reading a pipe or a device may block forever
            raise SlatError(f"{path}: {'is no regular file' if path.exists() else 'no such file'}")
        if (size := path.stat().st_size) > max_bytes:
            raise SlatError(f"{path}: has {size:,} bytes; such a file has at most {max_bytes:,}")
        return path.read_bytes()
    except OSError as error:
        raise SlatError(f"{path}: cannot be read ({error.strerror or error})") from error


def check_regular(path: Path) -> None:
    """Check that a file, or every file below a folder, is a regular file: reading a pipe or a device may block forever.

    Raises:
        SlatError: a file is not regular.
    """
    for file in (path, *(path.rglob("*") if path.is_dir() else ())):
        if not file.is_file() and not file.is_dir() and file.exists():
            raise SlatError(f"{file}: is no regular file, but a pipe, a socket or a device")


def as_text(raw: bytes, source: str | Path) -> str:
    """Decode the content of a file.

    Raises:
        SlatError: it is not UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SlatError(f"{source}: damaged ({error})") from error


def read_text(path: Path) -> str:
    """Return the text of a file; raises as :func:`read_bytes` and :func:`as_text` do."""
    return as_text(read_bytes(path), path)


def parse_json(text: str | bytes, source: str | Path) -> Any:
    """Parse JSON.

    Raises:
        SlatError: invalid JSON, or nested too deep.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        detail = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise SlatError(f"{source}: damaged ({detail})") from error


def read_json(path: Path) -> Any:
    """Return parsed JSON; raises as :func:`read_bytes` and :func:`parse_json` do."""
    return parse_json(as_text(read_bytes(path), path), path)


def read_lines(path: Path) -> list[Any]:
    """Return the JSON value of each line that :func:`.append_line` wrote, without digests; none for a missing file.

    A last line that is incomplete, after a killed process or a power loss, is cut off with a warning. Lines of an
    earlier version have no digest, and are not checked.

    Raises:
        SlatError: another line is damaged, missing or moved.
    """
    if not path.exists():
        return []
    raw = read_bytes(path)
    content = raw[: raw.rfind(b"\n") + 1]
    if content != raw:
        _log.warning(f"{path}: its last line was not written whole, and is cut off")
        write_bytes(path, content)
    values, previous_line = [], b""
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        source = f"{path}, line {number}"
        value = parse_json(as_text(line, source), source)
        values.append(check_signature(value, source, previous_line, _REMEDY) if isinstance(value, dict) else value)
        previous_line = line
    return values
