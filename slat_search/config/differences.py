"""Differences between two configurations, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .model import Config
from .secrets import without_secrets

_MAX_LISTED = 6  # fields that are named; further ones are counted
_MAX_LENGTH = 60  # characters of a value
_ABSENT = object()  # value of a field that a configuration lacks


def differences(stored: Config, current: Config, ignored: Mapping[str, Any] | None = None) -> list[str]:
    """Return each field that differs, with both values: ``training.steps (was 10, is 20)``.

    Args:
        ignored: fields that do not count, as pydantic's ``exclude``.
    """
    configs = (without_secrets(config) for config in (stored, current))  # a stored one has none
    old, new = (config.model_dump(mode="json", exclude=dict(ignored or {})) for config in configs)
    if stored.tasks or current.tasks:  # `task` then repeats the first of them
        old.pop("task", None)
        new.pop("task", None)
    return [*_compare(old, new, "")]


def told(lines: list[str]) -> str:
    """List the first few differences."""
    suffix = f" and {len(lines) - _MAX_LISTED} more" if len(lines) > _MAX_LISTED else ""
    return ", ".join(lines[:_MAX_LISTED]) + suffix


def _compare(old: Any, new: Any, path: str) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _compare(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and any(isinstance(v, dict) for v in (*old, *new)):
        for index in range(max(len(old), len(new))):
            old_item, new_item = (values[index] if index < len(values) else _ABSENT for values in (old, new))
            yield from _compare(old_item, new_item, f"{path}.{index}")
    else:
        yield f"{path} (was {_format(old)}, is {_format(new)})"


def _format(value: Any) -> str:
    if value is _ABSENT:
        return "not there"
    if isinstance(value, dict):
        name = value.get("name") or value.get("method")
        text = str(name) if name else str(value)
    else:
        text = "nothing" if value is None or value == [] else str(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."
