"""Files that people open, and that are read again: tables, texts and the configuration. As no digest can stand in
them, ``digests.json`` beside them holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import SlatError
from .digests import check_signature, digest, signed
from .reading import MOST_BYTES, read_bytes, read_json
from .writing import write_bytes, write_json

MANIFEST = "digests.json"
_KNOWN = 2  # digests of a file: that of its content, and that of the content before


def keep_digests(folder: Path) -> None:
    """Begin to keep digests of what :func:`write_listed` writes into a folder."""
    if not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, signed({"files": {}}))


def write_listed(path: Path, text: str) -> None:
    """Write a text that is whole or not there, and its digest first, where the folder keeps digests.

    The digest of the content before stays beside it, so that a process that is killed in between leaves nothing that
    looks damaged.
    """
    raw = text.encode("utf-8")
    if (path.parent / MANIFEST).exists():
        files, now = _read(path.parent), digest(raw)
        earlier = [known for known in files.get(path.name, ()) if known != now]
        files[path.name] = [now, *earlier][:_KNOWN]
        write_json(path.parent / MANIFEST, signed({"files": files}))
    write_bytes(path, raw)


def read_listed(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file; it is compared with its digest where the folder keeps one.

    Raises:
        SlatError: missing, not readable, larger than ``most`` bytes, or not what was written.
    """
    raw, manifest = read_bytes(path, most), path.parent / MANIFEST
    known = _read(path.parent).get(path.name) if manifest.exists() else None
    if known is not None and digest(raw) not in known:
        raise SlatError(
            f"{path}: damaged (its digest is not the one in {MANIFEST}); if you edited it, remove its entry there"
        )
    return raw


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    remedy = "remove it, and the files beside it are read without a check"
    raw = read_json(path)
    files = check_signature(raw, path, remedy=remedy).get("files") if isinstance(raw, dict) else None
    if not isinstance(files, dict) or not all(isinstance(known, list) for known in files.values()):
        raise SlatError(f"{path}: damaged (it lists no files); {remedy}")
    return files
