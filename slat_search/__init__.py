"""SLAT search: find, by gradient, the best small adapter structure for a frozen transformer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .errors import SlatError
from .home import do_without_home

if TYPE_CHECKING:
    from .inference.predictor import load_bundle as load
    from .inference.shared_predictor import load_shared
    from .pipeline import run
    from .structure import Structure, Supernet, attach

__version__ = "0.1.0"
__all__ = ["SlatError", "Structure", "Supernet", "attach", "load", "load_shared", "run"]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a library prints nothing that nobody asked for
do_without_home()


def __getattr__(name: str) -> Any:
    """Import on first use: ``import slat_search`` alone loads neither torch nor Ray."""
    if name in ("Structure", "Supernet", "attach"):
        from . import structure

        return getattr(structure, name)
    if name == "load":
        from .inference.predictor import load_bundle

        return load_bundle
    if name == "load_shared":
        from .inference.shared_predictor import load_shared

        return load_shared
    if name == "run":
        from .pipeline import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
