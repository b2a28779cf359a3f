"""The method: sites, modules, gates, sparsity and structures. Knows nothing of Ray, tasks or files."""

from .adapter import Adapter, attach
from .gates import TRAINED_GATES, Gates
from .kinds import ACTIVATIONS, KINDS, Kind, ModuleOptions, SiteModule
from .saliency import GATE_KINDS, Saliency
from .sites import Site, find_blocks, find_sites
from .space import Candidate, Space
from .structure import ModuleSpec, Structure
from .supernet import Supernet
from .turning import turn_to_principal_directions

__all__ = [
    "ACTIVATIONS",
    "GATE_KINDS",
    "KINDS",
    "TRAINED_GATES",
    "Adapter",
    "Candidate",
    "Gates",
    "Kind",
    "ModuleOptions",
    "ModuleSpec",
    "Saliency",
    "Site",
    "SiteModule",
    "Space",
    "Structure",
    "Supernet",
    "attach",
    "find_blocks",
    "find_sites",
    "turn_to_principal_directions",
]
