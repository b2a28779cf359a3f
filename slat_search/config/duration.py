"""Durations: ``90s``, ``30m``, ``2h``, ``1h30m``, ``2d``, or a number of seconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PATTERN = r"^\s*(\d+(\.\d+)?d)?\s*(\d+(\.\d+)?h)?\s*(\d+(\.\d+)?m(in)?)?\s*(\d+(\.\d+)?s)?\s*$"


def in_seconds(value: Any) -> Any:
    """Return a duration in seconds; a value that is no text is returned unchanged.

    Raises:
        ValueError: a text of another form.
    """
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        pass
    parts = re.findall(r"([\d.]+)([dhms])", value)
    if not parts or not re.match(_PATTERN, value):
        raise ValueError("should be a time such as 90s, 30m, 2h or 1h30m, or a number of seconds")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


Duration = Annotated[
    float,
    BeforeValidator(in_seconds),
    Field(gt=0),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": _PATTERN}]}),
]
