"""Atomic writes, also across a power loss or on a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import SlatError
from .digests import signed

_TAIL = 2**16  # bytes of a log that are read at a time, from its end
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP}  # of file systems that cannot sync a folder


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which it replaces if the block succeeds.

    File and folder are on the disk then, and the file has the mode that the umask says, whoever wrote it: safetensors
    gives its files to their owner alone. When the block fails, as on a full disk, nothing of it is left.
    """
    make_folder(path.parent)
    part = path.with_name(f".{path.name}.part")
    try:
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)  # of a process that was killed
        part.touch()
        mode = part.stat().st_mode & 0o777
        yield part
        if part.stat().st_mode & 0o777 != mode:
            part.chmod(mode)
        sync(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path`` to be filled; it takes the place of ``path``, which is not there or is empty,
    when the block ends well.

    All of it is on the disk then, and its files have the mode that the umask says. When the block fails, as on a full
    disk, nothing of it is left.

    Raises:
        SlatError: no folder can be made there.
    """
    part = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise SlatError(f"{path}: cannot be made: {error.strerror}") from error
    try:
        mode = part.stat().st_mode & 0o666
        yield part
        for file in part.rglob("*"):
            if file.is_file() and not file.is_symlink() and file.stat().st_mode & 0o777 != mode:
                file.chmod(mode)
        sync_tree(part)
        if path.exists():
            path.rmdir()
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    sync_folder(path.parent)


def write_bytes(path: Path, raw: bytes) -> None:
    """Write a file atomically."""
    with whole_file(path) as part:
        part.write_bytes(raw)


def write_text(path: Path, text: str) -> None:
    """Write a text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def append_line(path: Path, fields: Mapping[str, Any]) -> None:
    """Add a JSON object as a line, with a digest of it and of the line before; it is on the disk when this returns.

    When it cannot be written, as on a full disk, the file stays as it was.
    """
    make_folder(path.parent)
    is_new = not path.exists()
    before = b"" if is_new else _last_line(path)
    line = json.dumps(signed(fields, before)).encode() + b"\n"
    with open(path, "ab") as file:
        end = file.tell()
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), end)
            raise
    if is_new:
        sync_folder(path.parent)


def _last_line(path: Path) -> bytes:
    """Return the last whole line of a file, without its end; reads as little of the file as holds it."""
    with open(path, "rb") as file:
        start = file.seek(0, os.SEEK_END)
        tail = b""
        while start and tail.count(b"\n") < 2:
            step = min(_TAIL, start)
            start = file.seek(start - step)
            tail = file.read(step) + tail
    return tail.rpartition(b"\n")[0].rpartition(b"\n")[2]


def make_folder(path: Path) -> None:
    """Make a folder and those above it; they are on the disk when this returns."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def sync(path: Path) -> None:
    """Return when a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Return when all files of a folder, and its entries, are on the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            sync(path)
    sync_folder(folder)


def sync_folder(path: Path) -> None:
    """Wait until the entries of a folder are on the disk, if the file system can tell."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
