"""Digests of what a file holds, written into it. They find damage; they are no defense against a forger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SlatError

#: field of a JSON object, and of the metadata of a weight file, that holds the digest of the rest
DIGEST = "digest"
SIZE = 16  # bytes


def digest(*parts: bytes) -> str:
    """Return the BLAKE2b digest of bytes laid end to end, in hexadecimal."""
    state = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        state.update(part)
    return state.hexdigest()


def canonical(value: Any) -> bytes:
    """Return the same bytes for equal JSON values, whatever their order and spacing in a file."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def signed(fields: Mapping[str, Any], before: bytes = b"") -> dict[str, Any]:
    """Return fields of JSON with the digest of all of them before them.

    As it comes first, what cuts it out of a file cuts out other fields that are needed, or nothing else.

    Args:
        fields: JSON values.
        before: what else the digest covers, such as the line before.
    """
    plain = json.loads(json.dumps(fields))  # as a reader finds them
    return {DIGEST: digest(before, canonical(plain)), **fields}


def check_signature(raw: Mapping[str, Any], where: str | Path, before: bytes = b"", remedy: str = "") -> dict[str, Any]:
    """Return the fields that :func:`signed` was given; a file of an earlier version, which has no digest, as it is.

    Args:
        raw: parsed JSON.
        where: the file, for the message.
        remedy: what to do, for the message.

    Raises:
        SlatError: the fields are not those that were written.
    """
    fields = {name: value for name, value in raw.items() if name != DIGEST}
    if DIGEST in raw and raw[DIGEST] != digest(before, canonical(fields)):
        remedy = remedy or f"if you edited it, remove its field {DIGEST!r}"
        raise SlatError(f"{where}: damaged (its digest is not that of its content); {remedy}")
    return fields
