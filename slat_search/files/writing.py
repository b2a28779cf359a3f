"""Atomic writes that also survive a power loss or a full disk."""

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

_TAIL_BYTES = 2**16  # bytes of a log that are read at a time, from its end
_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP}  # errors of file systems that cannot sync a folder


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; its file replaces ``path`` if the block succeeds.

    File and folder are then on the disk, and the file has the mode of the umask, whatever library wrote it: safetensors
    makes its files readable by their owner alone. If the block fails, as on a full disk, the temporary file is removed.
    """
    make_folder(path.parent)
    staging = path.with_name(f".{path.name}.part")
    try:
        if staging.is_dir() and not staging.is_symlink():
            shutil.rmtree(staging)
        staging.unlink(missing_ok=True)  # left by a killed process
        staging.touch()
        mode = staging.stat().st_mode & 0o777
        yield staging
        if staging.stat().st_mode & 0o777 != mode:
            staging.chmod(mode)
        sync(staging)
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``, to be filled; it replaces ``path``, which is missing or empty, if the
    block succeeds.

    All files are then on the disk, and have the mode of the umask. If the block fails, as on a full disk, the temporary
    folder is removed.

    Raises:
        SlatError: the folder cannot be made.
    """
    staging = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise SlatError(f"{path}: cannot be made: {error.strerror}") from error
    try:
        mode = staging.stat().st_mode & 0o666
        yield staging
        for file in staging.rglob("*"):
            if file.is_file() and not file.is_symlink() and file.stat().st_mode & 0o777 != mode:
                file.chmod(mode)
        sync_tree(staging)
        if path.exists():
            path.rmdir()
        staging.replace(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    sync_folder(path.parent)


def write_bytes(path: Path, raw: bytes) -> None:
    """Write a file atomically."""
    with whole_file(path) as staging:
        staging.write_bytes(raw)


def write_text(path: Path, text: str) -> None:
    """Write a text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def append_line(path: Path, fields: Mapping[str, Any]) -> None:
    """Append a JSON object as a line, with a digest of it and of the previous line, and wait until it is on the disk.

    If the line cannot be written, as on a full disk, the file is unchanged.
    """
    make_folder(path.parent)
    is_new = not path.exists()
    previous_line = b"" if is_new else _last_line(path)
    line = json.dumps(signed(fields, previous_line)).encode() + b"\n"
    with open(path, "ab") as file:
        size = file.tell()
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise
    if is_new:
        sync_folder(path.parent)


def _last_line(path: Path) -> bytes:
    """Return the last complete line of a file, without its line break; only the end of the file is read."""
    with open(path, "rb") as file:
        start = file.seek(0, os.SEEK_END)
        tail = b""
        while start and tail.count(b"\n") < 2:
            step = min(_TAIL_BYTES, start)
            start = file.seek(start - step)
            tail = file.read(step) + tail
    return tail.rpartition(b"\n")[0].rpartition(b"\n")[2]


def make_folder(path: Path) -> None:
    """Make a folder and its parents, and wait until they are on the disk."""
    new_folders = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in new_folders:
        sync_folder(folder.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until all files and entries of a folder are on the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            sync(path)
    sync_folder(folder)


def sync_folder(path: Path) -> None:
    """Wait until the entries of a folder are on the disk, if the file system supports that."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
