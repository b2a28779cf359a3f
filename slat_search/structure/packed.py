"""Structures from JSON and from compressed text, which are not trusted: types and sizes are checked."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

from ..errors import SlatError
from .module_spec import ModuleSpec
from .sites import Site

_MOST_BYTES = 2**26  # of the JSON of a structure


def module_from(raw: Mapping[str, Any]) -> ModuleSpec:
    """Return the module of a structure's JSON.

    Raises:
        SlatError: a value is of another type, or the module cannot be.
        KeyError, TypeError, ValueError, AttributeError: it has other fields.
    """
    site = Site(whole(raw["layer"]), _text(raw["name"]), _text(raw["role"]), whole(raw["d_in"]), whole(raw["d_out"]))
    entries = tuple((whole(i), whole(j)) for i, j in raw.get("entries", ()))
    module = ModuleSpec(site, _text(raw["kind"]), whole(raw["size"]), entries)
    if raw.get("params", module.params) != module.params:
        raise SlatError(f"structure: params of {site.name} is {raw['params']!r}, not {module.params}")
    return module


def whole(value: Any) -> int:
    """Return a whole number, 0 or more.

    Raises:
        SlatError: it is none.
    """
    if type(value) is not int or value < 0:
        raise SlatError(f"structure: {value!r} is no whole number")
    return value


def finite(value: Any) -> float:
    """Return a finite number.

    Raises:
        SlatError: it is none.
    """
    if type(value) not in (int, float) or not math.isfinite(value):
        raise SlatError(f"structure: {value!r} is no finite number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise SlatError(f"structure: {value!r} is no text")
    return value


def packed(raw: Mapping[str, Any]) -> str:
    """JSON values as compressed text."""
    return base64.b85encode(zlib.compress(json.dumps(raw).encode(), 9)).decode()


def unpacked(text: str) -> dict[str, Any]:
    """Inverse of :func:`packed`.

    Raises:
        SlatError: the text is not packed, or encodes more than a structure takes.
    """
    try:
        stream = zlib.decompressobj()
        plain = stream.decompress(base64.b85decode(text), _MOST_BYTES)
        if not stream.eof:
            raise SlatError(f"structure: not a packed structure (it is cut, or has more than {_MOST_BYTES:,} bytes)")
        raw = json.loads(plain)
    except (ValueError, RecursionError, zlib.error) as error:
        raise SlatError(f"structure: not a packed structure ({error})") from error
    if not isinstance(raw, dict):
        raise SlatError("structure: not a packed structure (no fields in it)")
    return raw
