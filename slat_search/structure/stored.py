"""Bytes to store a structure beside its trained values."""

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

    Each module takes 2 bytes for its site and kind and 2 for its size. A spectral core adds 2 for the number of leading
    directions ``m`` that its ``k`` entries need, and the bits that encode which of the ``C(m^2, k)`` sets of positions
    they have (none where the core is whole). A pool of several tasks adds one bit per unit and task.
    """
    bits = sum(_HEADER + _position_bits(module) for module in structure.modules)
    if isinstance(structure, SharedStructure):
        bits += len(structure.users) * len(structure.tasks)
    return -(-bits // 8)


def _position_bits(module: ModuleSpec) -> int:
    if not KINDS[module.kind].positional:
        return 0
    return 16 + _choice_bits(directions(module.entries) ** 2, module.size)


def _choice_bits(total: int, count: int) -> int:
    """Return the bits that encode a choice of ``count`` of ``total``."""
    log_ways = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    return math.ceil(log_ways / math.log(2) - 1e-6)
