"""Digests of the content of a file, written into the file. They detect damage, and do not protect against forgery."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SlatError

#: field of a JSON object, and of the metadata of a weight file, that holds the digest of everything else
DIGEST = "digest"
SIZE = 16  # bytes


def digest(*parts: bytes) -> str:
    """Return the BLAKE2b digest of bytes laid end to end, in hexadecimal."""
    hasher = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def canonical(value: Any) -> bytes:
    """Return the same bytes for equal JSON values, whatever their order and spacing in a file."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def signed(fields: Mapping[str, Any], prefix: bytes = b"") -> dict[str, Any]:
    """Return JSON fields, preceded by a digest of all of them.

    The digest comes first, so that damage which removes the digest removes other required fields too, or nothing else.

    Args:
        fields: JSON values.
        prefix: further bytes that the digest covers, such as the previous line.
    """
    parsed = json.loads(json.dumps(fields))  # as a reader parses them
    return {DIGEST: digest(prefix, canonical(parsed)), **fields}


def check_signature(
    raw: Mapping[str, Any], source: str | Path, prefix: bytes = b"", remedy: str = ""
) -> dict[str, Any]:
    """Return the fields without the digest of :func:`signed`, after a check of it; earlier versions wrote no digest.

    Args:
        raw: parsed JSON.
        source: the file, for the message.
        prefix: as in :func:`signed`.
        remedy: advice for the user, for the message.

    Raises:
        SlatError: the fields are not those that were written.
    """
    fields = {name: value for name, value in raw.items() if name != DIGEST}
    if DIGEST in raw and raw[DIGEST] != digest(prefix, canonical(fields)):
        remedy = remedy or f"if you edited it, remove its field {DIGEST!r}"
        raise SlatError(f"{source}: damaged (its digest is not that of its content); {remedy}")
    return fields
