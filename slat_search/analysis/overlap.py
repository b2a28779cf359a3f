"""Overlap of structures, from their JSON alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def overlaps(structures: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Parameters that both have over those that either has (Jaccard), 0 to 1; a row and a column a structure.

    Two that are empty are the same. Equals :meth:`.Structure.overlap`.
    """
    names = list(structures)
    found = [[_overlap(structures[one], structures[two]) for two in names] for one in names]
    return pd.DataFrame(found, index=names, columns=names, dtype=float)


def _overlap(one: Mapping[str, Any], two: Mapping[str, Any]) -> float:
    mine, theirs = _units(one), _units(two)
    both = either = 0
    for place in mine.keys() | theirs.keys():
        (here, cost), (there, other) = mine.get(place, (0, 0)), theirs.get(place, (0, 0))
        both += min(here, there) * (cost or other)
        either += max(here, there) * (cost or other)
    return both / either if either else 1.0


def _units(structure: Mapping[str, Any]) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Module path and kind, and the place of a unit that has one -> how many units stand there, and the parameters of
    one."""
    units: dict[tuple[Any, ...], tuple[int, int]] = {}
    for module in structure["modules"]:
        where, cost = (module["name"], module["kind"]), module["params"] // module["size"]
        if "entries" in module:
            units |= {(*where, *entry): (1, cost) for entry in module["entries"]}
        else:
            units[where] = module["size"], cost
    return units
