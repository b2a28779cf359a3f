"""Fields that are set on the command line: ``--set search.trials=40``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .baselines import Baseline, entries
from .mistakes import Location, section_in
from .model import Config
from .reading import MalformedError, read_yaml
from .search import Range
from .section import Section


class SettingError(ValueError):
    """A setting that cannot be read, or whose key does not exist; the message is one sentence."""


def apply_setting(fields: Mapping[Any, Any], setting: str) -> tuple[dict[Any, Any], Location]:
    """Set one field of a configuration as it is written in its file.

    Args:
        fields: content of the file; it is not changed.
        setting: ``KEY=VALUE``: names of sections and fields and places in lists, joined by dots; and a YAML value.
            A list or mapping that the file leaves out has its default values.

    Returns:
        The fields with the value, and the location of the value.

    Raises:
        SettingError: no ``=``, no key, a value that is no YAML, or a position that a list does not have.
    """
    key, separator, text = setting.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not separator or not all(keys):
        raise SettingError("should be KEY=VALUE, such as search.trials=40")
    try:
        value, duplicates = read_yaml(text)
    except MalformedError as error:
        raise SettingError(str(error)) from error
    if duplicates:
        raise SettingError(duplicates[0])
    location = tuple(int(part) if part.isdecimal() else part for part in keys)
    updated: dict[Any, Any] = _set_value(dict(fields), Config, location, 0, value)
    return updated, location


def _set_value(node: Any, section: type[Section] | None, location: Location, depth: int, value: Any) -> Any:
    """Return ``node``, which is at ``location[:depth]``, with the new value set in it."""
    if depth == len(location):
        return value
    key, path = location[depth], ".".join(map(str, location[:depth]))
    if isinstance(node, list | tuple):
        if not isinstance(key, int) or key > len(node):
            raise SettingError(f"{path} has {len(node)} entries; {key} is none of them, and {len(node)} adds one")
        items = [*node, None] if key == len(node) else [*node]
        items[key] = _set_value(_expand(items[key], None, section), section, location, depth + 1, value)
        return items
    if not isinstance(node, dict):
        raise SettingError(f"{path} is {node!r} and has no fields of its own")
    field = section.model_fields.get(str(key)) if section is not None else None
    inner = (section_in(field.annotation) if field is not None else None) or section
    name = str(key)
    child = node.get(name) if depth + 1 == len(location) else _expand(node.get(name), field, inner)
    return {**node, name: _set_value(child, inner, location, depth + 1, value)}


def _expand(node: Any, field: FieldInfo | None, section: type[Section] | None) -> Any:
    """Return a value with its short form expanded: the default where the file has nothing, and the fields of a section
    that is given by its name."""
    if node is None:
        default = field.get_default(call_default_factory=True) if field is not None else None
        node = default if isinstance(default, list | tuple | dict | Range | str) else {}
    if section is Baseline and isinstance(node, str | list | tuple):
        return entries(node) if isinstance(node, list | tuple) or field is not None else {"method": node}
    if isinstance(node, str) and section is not None:
        return {"name": node}
    return _plain(node)


def _plain(value: Any) -> Any:
    """Return a default value as plain YAML values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [*map(_plain, value)] if isinstance(value, Sequence) and not isinstance(value, str) else value
