"""All public names of the structure engine; ``slat_search.structure`` imports them from here on first use."""

# ruff: noqa: F401

from .adapter import Adapter, attach
from .gates import (
    GATES,
    Gates,
    HardConcrete,
    MeasuredGates,
    Saliency,
    Screening,
    Sigmoid,
    TaskGates,
    TrainedGates,
)
from .kinds import KINDS, Kind
from .module_spec import ModuleSpec
from .multitask.shared_adapter import SharedAdapter, attach_alone, attach_shared
from .multitask.shared_structure import SharedStructure, read_structure, unpack
from .options import ModuleOptions, SearchOptions
from .site_module import ACTIVATIONS, SiteModule
from .sites import Site, find_blocks, find_sites
from .space import Candidate, Space
from .stored import VALUE, description_bytes
from .structure import Structure
from .supernet import Supernet
from .svd_rotation import rotate_to_svd
