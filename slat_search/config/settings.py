"""Fields that are set beside the file: ``--set search.trials=40``."""

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
    """A setting that cannot be read or has no place, in one sentence."""


def apply_setting(fields: Mapping[Any, Any], setting: str) -> tuple[dict[Any, Any], Location]:
    """Set one field of a configuration as it stands in its file.

    Args:
        fields: what the file holds; stays as it is.
        setting: ``KEY=VALUE``: names of sections and fields and places in lists, joined by dots; and a YAML value.
            A list or mapping that the file leaves out has its default values.

    Returns:
        The fields with the value, and its place.

    Raises:
        SettingError: no ``=``, no key, a value that is no YAML, or a place that a list does not have.
    """
    key, equals, text = setting.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise SettingError("should be KEY=VALUE, such as search.trials=40")
    try:
        value, repeated = read_yaml(text)
    except MalformedError as error:
        raise SettingError(str(error)) from error
    if repeated:
        raise SettingError(repeated[0])
    location = tuple(int(part) if part.isdecimal() else part for part in keys)
    placed: dict[Any, Any] = _placed(dict(fields), Config, location, 0, value)
    return placed, location


def _placed(there: Any, section: type[Section] | None, location: Location, depth: int, value: Any) -> Any:
    """Return ``location[:depth]`` with the new value set in it."""
    if depth == len(location):
        return value
    key, path = location[depth], ".".join(map(str, location[:depth]))
    if isinstance(there, list | tuple):
        if not isinstance(key, int) or key > len(there):
            raise SettingError(f"{path} has {len(there)} entries; {key} is none of them, and {len(there)} adds one")
        items = [*there, None] if key == len(there) else [*there]
        items[key] = _placed(_enterable(items[key], None, section), section, location, depth + 1, value)
        return items
    if not isinstance(there, dict):
        raise SettingError(f"{path} is {there!r} and has no fields of its own")
    field = section.model_fields.get(str(key)) if section is not None else None
    inner = (section_in(field.annotation) if field is not None else None) or section
    name = str(key)
    entered = there.get(name) if depth + 1 == len(location) else _enterable(there.get(name), field, inner)
    return {**there, name: _placed(entered, inner, location, depth + 1, value)}


def _enterable(there: Any, field: FieldInfo | None, section: type[Section] | None) -> Any:
    """Return a value with everything that its short form stands for: the default where the file has nothing, the fields
    of what stands there by its name."""
    if there is None:
        default = field.get_default(call_default_factory=True) if field is not None else None
        there = default if isinstance(default, list | tuple | dict | Range | str) else {}
    if section is Baseline and isinstance(there, str | list | tuple):
        return entries(there) if isinstance(there, list | tuple) or field is not None else {"method": there}
    if isinstance(there, str) and section is not None:
        return {"name": there}
    return _plain(there)


def _plain(value: Any) -> Any:
    """Return a default value as YAML would have it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [*map(_plain, value)] if isinstance(value, Sequence) and not isinstance(value, str) else value
