"""The method: sites, modules, gates, sparsity and structures. Knows nothing of Ray, tasks or files."""

from .adapter import Adapter, attach
from .extended import ExtendedSupernet
from .gates import TRAINED_GATES, Gates
from .kinds import KINDS, Kind
from .module_spec import ModuleSpec
from .saliency import GATE_KINDS, Saliency
from .shared import SharedStructure, read_structure, unpack
from .shared_adapter import SharedAdapter, attach_alone, attach_shared
from .shared_supernet import SharedSupernet
from .site_module import ACTIVATIONS, ModuleOptions, SiteModule
from .sites import Site, find_blocks, find_sites
from .space import Candidate, Space
from .stored import VALUE, description_bytes
from .structure import Structure
from .supernet import Supernet
from .task_gates import TaskGates
from .turning import turn_to_principal_directions

__all__ = [
    "ACTIVATIONS",
    "GATE_KINDS",
    "KINDS",
    "TRAINED_GATES",
    "VALUE",
    "Adapter",
    "Candidate",
    "ExtendedSupernet",
    "Gates",
    "Kind",
    "ModuleOptions",
    "ModuleSpec",
    "Saliency",
    "SharedAdapter",
    "SharedStructure",
    "SharedSupernet",
    "Site",
    "SiteModule",
    "Space",
    "Structure",
    "Supernet",
    "TaskGates",
    "attach",
    "attach_alone",
    "attach_shared",
    "description_bytes",
    "find_blocks",
    "find_sites",
    "read_structure",
    "turn_to_principal_directions",
    "unpack",
]
