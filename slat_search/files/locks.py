"""An exclusive lock between processes, also on file systems that do not support locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import SlatError

_NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}  # as on NFS without a lock daemon


class HeldError(SlatError):
    """Another process holds the lock; the message names it, if it is known."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock until the block ends; it is released when the process ends.

    Where ``flock`` is not supported, a file beside ``path`` is the lock. The lock file of an ended process of this
    machine is taken over; that of another machine has to be removed by hand, as it cannot be known from here whether
    the process is alive.

    Raises:
        HeldError: another process holds it.
        OSError: the file cannot be written.
    """
    with open(path, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldError("") from error
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            with _lock_file(path.with_name(f"{path.name}.held")):
                yield
            return
        yield


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock of :func:`locked`.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.is_file():  # opening a pipe would block forever
        return False
    try:
        with open(path) as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        try:
            _check_gone(path.with_name(f"{path.name}.held"))
        except FileNotFoundError:
            return False
        except HeldError:
            return True
    return False


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    """Hold a lock file, which only one process can create."""
    holder = {"host": socket.gethostname(), "process": os.getpid()}
    while True:
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            _take_over(path)
            continue
        break
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(holder))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _take_over(path: Path) -> None:
    """Remove the lock file of an ended process.

    Raises:
        HeldError: the process is alive, or this is not known.
    """
    try:
        _check_gone(path)
    except FileNotFoundError:  # released meanwhile
        return
    path.unlink(missing_ok=True)


def _check_gone(path: Path) -> None:
    """Check that the process of a lock file has ended.

    Raises:
        HeldError: the process is alive, or this is not known.
        FileNotFoundError: there is no lock.
    """
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        host, process = str(holder["host"]), int(holder["process"])
    except (ValueError, KeyError, TypeError) as error:
        raise HeldError(f" ({path} does not say which; remove it if none is)") from error
    if host != socket.gethostname():
        raise HeldError(f" (process {process} on {host}; remove {path} if it is gone)")
    if _is_alive(process):
        raise HeldError(f" (process {process})")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    return True
