"""Tokens on disk: texts are tokenised once for a tokenizer and a length, and memory-mapped from then on.

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
    """Cache folder."""
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


def kept(key: str, make: Callable[[], Arrays]) -> Arrays:
    """Arrays that were kept under ``key``, memory-mapped and read-only; made and kept first where there are none.

    They are written beside and moved into place, so that what is there is whole. A cache that cannot be written, on a
    full disk say, costs a warning and the time, and nothing else.
    """
    place = folder() / "tokens" / key
    if (stored := _read(place)) is not None:
        _log.debug(f"tokens: read from {place}")
        return stored
    _log.debug(f"tokens: none in {place} yet, so texts are encoded")
    arrays = make()
    try:
        _write(place, arrays)
    except OSError as error:
        warnings.warn(f"tokens are not kept in {place.parent}: {error.strerror or error}", stacklevel=2)
        return arrays
    return _read(place) or arrays


def _read(place: Path) -> Arrays | None:
    try:
        return {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in sorted(place.glob("*.npy"))} or None
    except (OSError, ValueError):  # damaged: made again
        shutil.rmtree(place, ignore_errors=True)
        return None


def _write(place: Path, arrays: Mapping[str, np.ndarray]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=place.parent))
    try:
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array)
        if not place.exists():
            part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
