"""Weights and predictions as files of safetensors, with a digest of them in the metadata."""

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
#: what safetensors and numpy raise on a damaged file
_DAMAGED = (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError)


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the digest of names, types, shapes and values."""
    state = hashlib.blake2b(digest_size=SIZE)
    for name, value in sorted(arrays.items()):
        state.update(json.dumps([name, value.dtype.str, value.shape]).encode())
        state.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write a file atomically; return the digest of the arrays."""
    checksum = arrays_digest(arrays)
    with whole_file(path) as part:
        save_file(dict(arrays), part, metadata={DIGEST: checksum})
    return checksum


def load_arrays(path: Path, digest: str | None = None, most: int | None = None) -> dict[str, np.ndarray]:
    """Read a file that :func:`save_arrays` wrote; one of an earlier version, which has no digest, as it is.

    Args:
        digest: expected one, from another file.
        most: bytes that it can have.

    Raises:
        SlatError: missing, too large, damaged, or not the arrays that ``digest`` is of.
    """
    if not path.is_file():
        raise SlatError(f"{path}: {'is no regular file' if path.exists() else 'no such file'}")
    if most is not None and (size := path.stat().st_size) > most:
        raise SlatError(f"{path}: damaged (it has {size:,} bytes, far more than its structure needs)")
    try:
        with safe_open(path, framework="numpy") as file:
            written = (file.metadata() or {}).get(DIGEST)
            names = file.keys()
            arrays = {name: file.get_tensor(name) for name in names}
    except _DAMAGED as error:
        detail = next(iter(str(error).splitlines()), type(error).__name__)
        raise SlatError(f"{path}: damaged ({detail})") from error
    if written is None and digest is None:
        _log.debug(f"{path}: of an earlier version, without a digest; it is not checked")
        return arrays
    checksum = arrays_digest(arrays)
    if checksum != (written or checksum):
        raise SlatError(f"{path}: damaged (its digest is not that of its content)")
    if digest is not None and checksum != digest:
        raise SlatError(f"{path}: damaged, or of another adapter (its digest is not the one beside it)")
    return arrays


def check_finite(arrays: Mapping[str, np.ndarray], where: str | Path) -> None:
    """Check that weights are finite floating-point numbers.

    Raises:
        SlatError: one is not.
    """
    for name, value in sorted(arrays.items()):
        if value.dtype.kind not in "fbiu":
            raise SlatError(f"{where}: damaged ({name} is of type {value.dtype})")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise SlatError(f"{where}: damaged ({name} holds NaN or infinity)")
