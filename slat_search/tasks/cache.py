"""Tokens on disk: texts are tokenized once for a tokenizer and a length, and memory-mapped from then on.

The folder is ``$SLAT_CACHE`` or ``slat_search`` in the user's cache folder; it can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

_log = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray]


def folder() -> Path:
    """Return the cache folder."""
    if (configured := os.environ.get("SLAT_CACHE")) is not None:
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slat_search"


def digest(*parts: Iterable[str]) -> str:
    """Return one key for any number of texts."""
    hasher = hashlib.sha256()
    for part in parts:
        for text in part:
            raw = text.encode("utf-8", "surrogatepass")
            hasher.update(len(raw).to_bytes(8, "little"))
            hasher.update(raw)
        hasher.update(b"\xff" * 8)
    return hasher.hexdigest()[:32]


def cached_arrays(key: str, compute: Callable[[], Arrays]) -> Arrays:
    """Return the arrays that are cached under ``key``, memory-mapped and read-only; compute and cache them where
    there are none.

    They are written to a temporary folder and moved into place, so that a cached folder is always complete.
    A cache that cannot be written, on a full disk say, costs a warning and the time, and nothing else.
    """
    entry = folder() / "tokens" / key
    if (arrays := _read(entry)) is not None:
        _log.debug(f"tokens: read from {entry}")
        return arrays
    _log.debug(f"tokens: none in {entry} yet, so texts are encoded")
    arrays = compute()
    try:
        _write(entry, arrays)
    except OSError as error:
        warnings.warn(f"tokens are not kept in {entry.parent}: {error.strerror or error}", stacklevel=2)
        return arrays
    return _read(entry) or arrays


def _read(entry: Path) -> Arrays | None:
    try:
        return {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in sorted(entry.glob("*.npy"))} or None
    except (OSError, ValueError):  # damaged: computed again
        shutil.rmtree(entry, ignore_errors=True)
        return None


def _write(entry: Path, arrays: Mapping[str, np.ndarray]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".part-", dir=entry.parent))
    try:
        for name, array in arrays.items():
            np.save(staging / f"{name}.npy", array)
        if not entry.exists():
            staging.rename(entry)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
