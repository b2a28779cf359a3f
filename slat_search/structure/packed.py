"""Read structures from JSON and from compressed text. Neither is trusted: types and sizes are checked."""

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

_MAX_BYTES = 2**26  # of a structure's JSON


def module_from(raw: Mapping[str, Any]) -> ModuleSpec:
    """Return the module of a structure's JSON.

    Raises:
        SlatError: a value is of another type, or the module cannot be.
        KeyError, TypeError, ValueError, AttributeError: fields are missing or of another form.
    """
    site = Site(
        whole_number(raw["layer"]),
        _text(raw["name"]),
        _text(raw["role"]),
        whole_number(raw["d_in"]),
        whole_number(raw["d_out"]),
    )
    entries = tuple((whole_number(i), whole_number(j)) for i, j in raw.get("entries", ()))
    module = ModuleSpec(site, _text(raw["kind"]), whole_number(raw["size"]), entries)
    if raw.get("params", module.params) != module.params:
        raise SlatError(f"structure: params of {site.name} is {raw['params']!r}, not {module.params}")
    return module


def whole_number(value: Any) -> int:
    """Return ``value`` if it is a whole number of at least 0.

    Raises:
        SlatError: it is not.
    """
    if type(value) is not int or value < 0:
        raise SlatError(f"structure: {value!r} is no whole number")
    return value


def finite_number(value: Any) -> float:
    """Return ``value`` if it is a finite number.

    Raises:
        SlatError: it is not.
    """
    if type(value) not in (int, float) or not math.isfinite(value):
        raise SlatError(f"structure: {value!r} is no finite number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise SlatError(f"structure: {value!r} is no text")
    return value


def packed(raw: Mapping[str, Any]) -> str:
    """Return JSON values as compressed text."""
    return base64.b85encode(zlib.compress(json.dumps(raw).encode(), 9)).decode()


def unpacked(text: str) -> dict[str, Any]:
    """Inverse of :func:`packed`.

    Raises:
        SlatError: the text is not packed, or encodes more than a structure takes.
    """
    try:
        stream = zlib.decompressobj()
        content = stream.decompress(base64.b85decode(text), _MAX_BYTES)
        if not stream.eof:
            raise SlatError(f"structure: not a packed structure (it is cut, or has more than {_MAX_BYTES:,} bytes)")
        raw = json.loads(content)
    except (ValueError, RecursionError, zlib.error) as error:
        raise SlatError(f"structure: not a packed structure ({error})") from error
    if not isinstance(raw, dict):
        raise SlatError("structure: not a packed structure (no fields in it)")
    return raw
