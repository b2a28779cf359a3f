"""Another place for what libraries keep in the home folder, where that cannot be written: containers, batch systems,
service users."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

#: variable -> what it names of the folder of caches by default
_CACHES = {"HF_HOME": "huggingface", "SLAT_CACHE": "slat_search"}
_DATASETS = "HF_DATASETS_CACHE"


def do_without_home() -> None:
    """Redirect caches below the home folder to a temporary one if the home folder is unwritable.

    Set before the libraries are imported, which read it then. What the user set stays, and so does a cache of models
    that is there to be read.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    for variable, name in _CACHES.items():
        if variable not in os.environ and not writable(caches / name):
            if variable == "HF_HOME" and (caches / name).is_dir():
                os.environ.setdefault(_DATASETS, str(_temporary() / "datasets"))
            else:
                os.environ[variable] = str(_temporary() / name)


def writable(folder: Path) -> bool:
    """Whether a folder, or a file in it, can be made."""
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """Return a folder private to this user."""
    place = Path(tempfile.gettempdir()) / f"slat_search-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    return place if place.stat().st_uid == os.getuid() else Path(tempfile.mkdtemp(prefix="slat_search-"))
