"""Weights and predictions as safetensors files, with their digest in the metadata."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import SlatError
from .digests import DIGEST, SIZE
from .writing import whole_file

_log = logging.getLogger(__name__)
#: errors that safetensors and numpy raise on a damaged file
_READ_ERRORS = (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError)


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the digest of names, types, shapes and values."""
    hasher = hashlib.blake2b(digest_size=SIZE)
    for name, value in sorted(arrays.items()):
        hasher.update(json.dumps([name, value.dtype.str, value.shape]).encode())
        hasher.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write a file atomically; return the digest of the arrays."""
    checksum = arrays_digest(arrays)
    with whole_file(path) as staging:
        save_file(dict(arrays), staging, metadata={DIGEST: checksum})
    return checksum


def load_arrays(path: Path, digest: str | None = None, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Read a file that :func:`save_arrays` wrote; a file of an earlier version has no digest, and is not checked.

    Args:
        digest: expected digest, from another file.
        max_bytes: largest size that the file can have.

    Raises:
        SlatError: missing, too large, damaged, or arrays of another digest than ``digest``.
    """
    if not path.is_file():
        raise SlatError(f"{path}: {'is no regular file' if path.exists() else 'no such file'}")
    if max_bytes is not None and (size := path.stat().st_size) > max_bytes:
        raise SlatError(f"{path}: damaged (it has {size:,} bytes, far more than its structure needs)")
    try:
        with safe_open(path, framework="numpy") as file:
            stored_digest = (file.metadata() or {}).get(DIGEST)
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
    except _READ_ERRORS as error:
        detail = next(iter(str(error).splitlines()), type(error).__name__)
        raise SlatError(f"{path}: damaged ({detail})") from error
    if stored_digest is None and digest is None:
        _log.debug(f"{path}: of an earlier version, without a digest; it is not checked")
        return arrays
    checksum = arrays_digest(arrays)
    if checksum != (stored_digest or checksum):
        raise SlatError(f"{path}: damaged (its digest is not that of its content)")
    if digest is not None and checksum != digest:
        raise SlatError(f"{path}: damaged, or of another adapter (its digest is not the one beside it)")
    return arrays


def check_finite(arrays: Mapping[str, np.ndarray], source: str | Path) -> None:
    """Check that weights are finite numbers.

    Raises:
        SlatError: a value is not finite, or is no number.
    """
    for name, value in sorted(arrays.items()):
        if value.dtype.kind not in "fbiu":
            raise SlatError(f"{source}: damaged ({name} is of type {value.dtype})")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise SlatError(f"{source}: damaged ({name} holds NaN or infinity)")
