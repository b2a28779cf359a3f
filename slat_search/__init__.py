"""SLAT search: find, by gradient, the best small adapter structure for a frozen transformer."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import SlatError
from .home import do_without_home

if TYPE_CHECKING:
    from .inference.adapter_file import load_adapter, save_adapter
    from .inference.predictor import load_predictor as load
    from .integrations.trainer import SlatCallback
    from .pipeline import run
    from .result import RunResult
    from .structure import Structure, Supernet, attach
    from .training.gate_schedule import ScreeningSearch, SearchPlan, StructureSearch, controller_for

__version__ = "0.1.0"
__all__ = [
    "RunResult",
    "ScreeningSearch",
    "SearchPlan",
    "SlatCallback",
    "SlatError",
    "Structure",
    "StructureSearch",
    "Supernet",
    "attach",
    "controller_for",
    "load",
    "load_adapter",
    "run",
    "save_adapter",
]

#: public name -> where it is, and its name there
_PLACES = {
    "load": ("inference.predictor", "load_predictor"),
    "load_adapter": ("inference.adapter_file", "load_adapter"),
    "run": ("pipeline", "run"),
    "RunResult": ("result", "RunResult"),
    "save_adapter": ("inference.adapter_file", "save_adapter"),
    "SlatCallback": ("integrations.trainer", "SlatCallback"),
    **{name: ("structure", name) for name in ("Structure", "Supernet", "attach")},
    **{
        name: ("training.gate_schedule", name)
        for name in ("ScreeningSearch", "SearchPlan", "StructureSearch", "controller_for")
    },
}

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a library prints nothing unasked
do_without_home()


def __getattr__(name: str) -> Any:
    """Import on first use: ``import slat_search`` alone loads neither torch nor Ray."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(f".{module}", __name__), attribute)
