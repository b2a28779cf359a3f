"""In which fields two configurations differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .model import Config
from .secrets import without_secrets

_NAMED = 6  # fields, before the rest is counted
_SHOWN = 60  # characters of a value
_NOTHING = object()


def differences(stored: Config, current: Config, ignored: Mapping[str, Any] | None = None) -> list[str]:
    """Each field that differs, with both values: ``training.steps (was 10, is 20)``.

    Args:
        ignored: fields that do not count, as pydantic's ``exclude``.
    """
    both = (without_secrets(config) for config in (stored, current))  # what a run keeps has none
    old, new = (config.model_dump(mode="json", exclude=dict(ignored or {})) for config in both)
    if stored.tasks or current.tasks:  # `task` is then the first of them
        old.pop("task", None)
        new.pop("task", None)
    return [*_between(old, new, "")]


def told(lines: list[str]) -> str:
    """List the first few differences."""
    rest = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return ", ".join(lines[:_NAMED]) + rest


def _between(old: Any, new: Any, path: str) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _between(old.get(key, _NOTHING), new.get(key, _NOTHING), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and any(isinstance(v, dict) for v in (*old, *new)):
        for place in range(max(len(old), len(new))):
            before, after = (values[place] if place < len(values) else _NOTHING for values in (old, new))
            yield from _between(before, after, f"{path}.{place}")
    else:
        yield f"{path} (was {_shown(old)}, is {_shown(new)})"


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "not there"
    if isinstance(value, dict):
        named = value.get("name") or value.get("method")
        text = str(named) if named else str(value)
    else:
        text = "nothing" if value is None or value == [] else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
