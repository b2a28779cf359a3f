"""Presets for a first look, for everyday use and for final results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .search import Search

Preset = Literal["quick", "good", "best"]
#: preset -> fields that it sets; `good` is the defaults
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"seeds": 1, "search": {"trials": 6, "num_selected": 1}, "baselines": ["lora", "head"]},
    "good": {},
    "best": {"seeds": 5, "search": {"trials": 64, "num_selected": 4}, "baselines": "standard"},
}


def with_preset(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration, with those of its preset where they are missing."""
    name = fields.get("preset")
    result = dict(fields)
    for field, value in PRESETS.get(name, {}).items() if isinstance(name, str) else ():
        section = result.get(field)
        if isinstance(value, dict) and isinstance(section, Mapping):
            names = {Search.OLD_NAMES.get(key, key) for key in section}
            result[field] = {**{key: item for key, item in value.items() if key not in names}, **section}
        else:
            result.setdefault(field, value)
    return result
