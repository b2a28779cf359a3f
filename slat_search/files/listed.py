"""Files that people open and that are read again: tables, texts and the configuration. They cannot contain a digest,
so ``digests.json`` beside them holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import SlatError
from .digests import check_signature, digest, signed
from .reading import MOST_BYTES, read_bytes, read_json
from .writing import write_bytes, write_json

MANIFEST = "digests.json"
_MAX_DIGESTS = 2  # of a file: that of its content, and that of its previous content


def keep_digests(folder: Path) -> None:
    """Create the manifest by which :func:`write_listed` keeps digests of the files in a folder."""
    if not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, signed({"files": {}}))


def write_listed(path: Path, text: str) -> None:
    """Write a text atomically; where the folder keeps digests, write its digest first.

    The digest of the previous content is kept as well, so that a process that is killed between the two writes leaves
    nothing that looks damaged.
    """
    raw = text.encode("utf-8")
    if (path.parent / MANIFEST).exists():
        files, content_digest = _read_manifest(path.parent), digest(raw)
        old_digests = [old_digest for old_digest in files.get(path.name, ()) if old_digest != content_digest]
        files[path.name] = [content_digest, *old_digests][:_MAX_DIGESTS]
        write_json(path.parent / MANIFEST, signed({"files": files}))
    write_bytes(path, raw)


def read_listed(path: Path, max_bytes: int = MOST_BYTES) -> bytes:
    """Return the content of a file, compared with its digest where the folder keeps one.

    Raises:
        SlatError: missing, not readable, larger than ``max_bytes``, or damaged.
    """
    raw, manifest = read_bytes(path, max_bytes), path.parent / MANIFEST
    digests = _read_manifest(path.parent).get(path.name) if manifest.exists() else None
    if digests is not None and digest(raw) not in digests:
        raise SlatError(
            f"{path}: damaged (its digest is not the one in {MANIFEST}); if you edited it, remove its entry there"
        )
    return raw


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    remedy = "remove it, and the files beside it are read without a check"
    raw = read_json(path)
    files = check_signature(raw, path, remedy=remedy).get("files") if isinstance(raw, dict) else None
    if not isinstance(files, dict) or not all(isinstance(digests, list) for digests in files.values()):
        raise SlatError(f"{path}: damaged (it lists no files); {remedy}")
    return files
