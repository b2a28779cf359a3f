"""The token by which processes of one Ray authenticate, hidden from other users."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

_NAMED_BY = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # where a user says which token


def keep_token() -> None:
    """Let Ray find a token that this user alone can read.

    Ray writes ``~/.ray/auth_token`` with the modes that the umask gives, which mostly lets everybody read it, and who
    reads it can run code in a Ray of this user. Where that folder cannot be written, the token stands in the
    environment, which processes of other users do not see either.
    """
    if any(os.environ.get(name) for name in _NAMED_BY):
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
    """Write a new token whole, unless another process is quicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, written = tempfile.mkstemp(dir=path.parent)  # mode 600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(written, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(written, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(written)
