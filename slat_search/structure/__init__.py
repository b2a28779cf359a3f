"""The method: sites, modules, gates, sparsity and structures. It knows nothing of Ray, tasks or files.

Names are imported on first use, so that descriptions alone (``kinds.py``, ``options.py``) can be read without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import *  # noqa: F403

__all__ = [  # noqa: F405
    "ACTIVATIONS",
    "GATES",
    "KINDS",
    "VALUE",
    "Adapter",
    "Candidate",
    "Gates",
    "HardConcrete",
    "Kind",
    "MeasuredGates",
    "ModuleOptions",
    "ModuleSpec",
    "Saliency",
    "Screening",
    "SearchOptions",
    "SharedAdapter",
    "SharedStructure",
    "Sigmoid",
    "Site",
    "SiteModule",
    "Space",
    "Structure",
    "Supernet",
    "TaskGates",
    "TrainedGates",
    "attach",
    "attach_alone",
    "attach_shared",
    "description_bytes",
    "find_blocks",
    "find_sites",
    "read_structure",
    "rotate_to_svd",
    "unpack",
]


def __getattr__(name: str) -> Any:
    api = import_module(".api", __name__) if not name.startswith("_") else None
    if hasattr(api, name):
        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
