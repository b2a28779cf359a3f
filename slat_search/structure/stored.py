"""Bytes that a structure takes beside its trained values."""

from __future__ import annotations

import math

from .kinds import KINDS
from .module_spec import ModuleSpec
from .multitask.shared_structure import SharedStructure
from .spectral import directions
from .structure import Structure

VALUE = 4  # bytes of a trained number, float32
_HEADER = 32  # bits of a module's site and kind, and of its size


def description_bytes(structure: Structure | SharedStructure) -> int:
    """Return the fewest bytes that encode a structure which follows from no rule and no seed.

    Counted are 2 bytes for the site and kind of each module and 2 for its size; of a spectral core 2 for the number of
    leading directions ``m`` that its ``k`` entries need, and the bits that tell one of the ``C(m^2, k)`` ways in which
    they can stand (none where the core is whole); of a pool of several tasks one bit a unit and task.
    """
    bits = sum(_HEADER + _position_bits(module) for module in structure.modules)
    if isinstance(structure, SharedStructure):
        bits += len(structure.users) * len(structure.tasks)
    return -(-bits // 8)


def _position_bits(module: ModuleSpec) -> int:
    if not KINDS[module.kind].positional:
        return 0
    return 16 + _choice_bits(directions(module.entries) ** 2, module.size)


def _choice_bits(total: int, chosen: int) -> int:
    """Bits that number the ways to choose some of ``total``."""
    ways = math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
    return math.ceil(ways / math.log(2) - 1e-6)
