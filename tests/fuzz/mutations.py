"""Damage to files: bytes as disks and editors change them, and values as hands do."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**6, 10**30, 0.5, -0.5, 1e308, float("nan"), float("inf"), "", "x", "1"),
    *("a" * 5000, "=1+1", "\ud800", "\x00", "../../x", [], {}, [[]], [None], {"": None}, [1, "x", None]),
)

_DAMAGE = ("bit", "bit", "bit", "byte", "digit", "cut", "empty", "hole", "delete", "repeat", "insert", "swap")


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Return other bytes: one to three flips, cuts, holes, repeats or insertions."""
    changed = raw
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        changed = _once(changed, rng)
    return changed


def _once(raw: bytes, rng: random.Random) -> bytes:
    size = len(raw)
    start = rng.randrange(size + 1)
    end = min(size, start + rng.choice((1, 2, 8, 64, 4096)))
    how = rng.choice(_DAMAGE)
    if how in ("bit", "byte", "digit") and size:
        place = rng.randrange(size)
        if how == "digit":  # a number that stays one
            digits = [place for place, byte in enumerate(raw) if 48 <= byte <= 57] or [place]
            place = rng.choice(digits)
        flipped, number = raw[place] ^ 1 << rng.randrange(8), 48 + rng.randrange(10)
        other = {"bit": flipped, "digit": number}.get(how, rng.randrange(256))
        return raw[:place] + bytes([other]) + raw[place + 1 :]
    if how == "cut":
        return raw[:start]
    if how == "empty":
        return b""
    if how == "hole":  # as after a power loss
        return raw[:start] + bytes(end - start) + raw[end:]
    if how == "delete":
        return raw[:start] + raw[end:]
    if how == "repeat":
        return raw[:end] + raw[start:end] + raw[end:]
    if how == "swap":
        middle = (start + end) // 2
        return raw[:start] + raw[middle:end] + raw[start:middle] + raw[end:]
    return raw[:start] + rng.randbytes(end - start) + raw[start:]


def edited(value: Any, rng: random.Random) -> Any:
    """Return JSON with one to three values replaced, removed, added or moved."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            return rng.choice(_VALUES)
        holder, key = rng.choice(places)
        how = rng.choice(("replace", "replace", "remove", "add", "move"))
        if how == "replace":
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
        elif how == "remove":
            del holder[key]
        elif how == "add" and isinstance(holder, dict):
            holder[rng.choice(("extra", "", "version", "digest", "format"))] = copy.deepcopy(rng.choice(_VALUES))
        elif how == "add":
            holder.append(copy.deepcopy(holder[key]))
        else:
            other, place = rng.choice(places)
            if place in range(len(other)) if isinstance(other, list) else place in other:
                holder[key] = copy.deepcopy(other[place])
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each holder and key of the values inside of a value."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            yield from _places(value[key])


def as_json(value: Any) -> bytes:
    """Write JSON as a careless program does, with NaN and half characters."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
