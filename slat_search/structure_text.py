"""A structure as text that people read: JSON with a line for each module. Needs no torch, as pages show it too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def by_line(raw: Mapping[str, Any]) -> str:
    """JSON with one line a module."""
    raw = dict(raw)
    lines = [json.dumps(m) for m in raw.pop("modules")]
    body = ",\n    ".join(lines)
    modules = f"[\n    {body}\n  ]" if lines else "[]"
    return f'{{\n  {json.dumps(raw)[1:-1]},\n  "modules": {modules}\n}}\n'
