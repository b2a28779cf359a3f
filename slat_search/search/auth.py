"""The token by which the processes of a Ray cluster authenticate, hidden from other users."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # set by a user who chooses the token


def keep_token() -> None:
    """Provide Ray with a token that only this user can read.

    Ray itself writes ``~/.ray/auth_token`` with the modes of the umask, which mostly lets everybody read it, and
    whoever reads it can run code in this user's Ray. Where that folder cannot be written, the token is set in the
    environment, which processes of other users cannot read either.
    """
    if any(os.environ.get(name) for name in _TOKEN_VARIABLES):
        return
    path = Path("~/.ray/auth_token").expanduser()
    try:
        if not path.exists():
            _write(path)
    except OSError:  # a home that cannot be written, or a full disk
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        return
    if path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _write(path: Path) -> None:
    """Write a new token atomically, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)  # mode 600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
