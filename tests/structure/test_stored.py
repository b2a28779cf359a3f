"""Bytes that say what stands where."""

from __future__ import annotations

from math import comb, log2

import pytest
from hypothesis import given, settings

from slat_search.structure import (
    ModuleSpec,
    SharedStructure,
    Site,
    Structure,
    description_bytes,
)

from .test_structure import structures

WIDE = Site(0, "layer.0.q", "q", 64, 48)


def core(*entries: tuple[int, int]) -> Structure:
    return Structure((ModuleSpec(WIDE, "spectral", len(entries), entries),))


def test_a_module_takes_four_bytes_and_a_core_its_directions_and_the_choice_of_entries() -> None:
    assert description_bytes(Structure()) == 0
    assert description_bytes(Structure.lora([WIDE], r=8)) == 4
    assert description_bytes(Structure.cores([WIDE], 3)) == 4 + 2  # a whole core has no choice
    assert description_bytes(core((0, 0), (1, 2))) == 4 + 2 + 1  # 36 ways, 6 bits
    assert description_bytes(core((31, 31))) == 4 + 2 + 2  # one of 1,024, 10 bits


def test_bits_of_all_modules_add_up_before_they_are_rounded() -> None:
    sites = [Site(layer, f"layer.{layer}.q", "q", 64, 48) for layer in range(4)]
    whole = Structure(tuple(ModuleSpec(site, "spectral", 1, ((31, 31),)) for site in sites))
    assert description_bytes(whole) == 4 * (4 + 2) + 5


def test_a_pool_says_who_uses_each_unit() -> None:
    pool = Structure.lora([WIDE], r=3)
    assert description_bytes(SharedStructure(("a", "b", "c"), pool, ((0,), (1, 2), (2,)))) == 4 + 2  # 9 bits


@given(structures())
@settings(max_examples=50)
def test_no_fewer_than_it_takes_to_tell_entries_apart(structure: Structure) -> None:
    bits = 32 * len(structure.modules)
    for module in structure.modules:
        if module.entries:
            side = 1 + max(max(entry) for entry in module.entries)
            bits += 16 + log2(comb(side**2, module.size))
    assert bits / 8 - 1e-6 <= description_bytes(structure) < bits / 8 + len(structure.modules) / 8 + 1


@pytest.mark.parametrize("count", [100, 5000, 73_728])
def test_many_entries_are_counted_exactly_and_fast(count: int) -> None:
    site = Site(0, "layer.0.q", "q", 384, 384)
    entries = tuple((n // 384, n % 384) for n in range(384**2 - count, 384**2))
    result = description_bytes(Structure((ModuleSpec(site, "spectral", count, entries),)))
    assert result == 6 + -(-(comb(384**2, count) - 1).bit_length() // 8)
