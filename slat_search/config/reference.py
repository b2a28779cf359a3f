"""Write the reference of all configuration fields: ``python -m slat_search.config.reference > docs/config.md``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .baselines import METHOD_DEFAULTS, Baseline
from .mistakes import is_section, section_in
from .model import Config
from .search import Range
from .section import Section

_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "entries ≥", "max_length": "entries ≤"}


def reference() -> str:
    """Return the reference in Markdown: one table per section, in the order of the model."""
    parts = [
        "# Configuration\n\n"
        "Every field of the YAML. All are optional; a field that is not listed here is an error, with a hint.\n"
        "Made by `make docs` from `slat_search/config/`."
    ]
    for section, paths in _sections().items():
        title = ", ".join(f"`{path}`" for path in paths) if paths != [""] else "Top level"
        parts.append(f"\n## {title}\n\n{(section.__doc__ or '').strip()}\n\n| field | default | values | meaning |")
        parts.append("|---|---|---|---|")
        for name, field in section.model_fields.items():
            cells = (f"`{name}`", _default(field), _values(field), field.description or _purpose(field))
            parts.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        if section is Baseline:
            parts.append(_method_table())
    return "\n".join(parts) + "\n"


def _method_table() -> str:
    """Return a table of the methods with their defaults."""
    rows = ["\n| method | name in tables | size | learning rates | takes |", "|---|---|---|---|---|"]
    for method, defaults in METHOD_DEFAULTS.items():
        fields = {
            "`tuner`": defaults.tuner,
            "`size`": defaults.size,
            "`roles`": defaults.roles,
            "`budget`": defaults.budget,
            "`peft`": defaults.peft,
        }
        cells = (
            f"`{method}`",
            defaults.title.format(size=defaults.size, tuner="its `tuner`"),
            "" if defaults.size is None else str(defaults.size),
            ", ".join(f"{rate:g}" for rate in defaults.learning_rates),
            ", ".join(name for name, required in fields.items() if required),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _sections() -> dict[type[Section], list[str]]:
    """Return every section with its paths."""
    sections: dict[type[Section], list[str]] = {}
    for path, section in _walk(Config, ""):
        sections.setdefault(section, []).append(path)
    return sections


def _walk(section: type[Section], path: str) -> Iterator[tuple[str, type[Section]]]:
    """Yield a section and those inside it, with their paths; ``[]`` marks lists and mappings."""
    yield path, section
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        if inner is not None:
            suffix = "" if is_section(field.annotation) else "[]"
            yield from _walk(inner, f"{path}.{name}{suffix}".lstrip("."))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel) and not isinstance(value, Range):
        return ""
    return f"`{json.dumps(_plain(value))}`" if value is not None else "none"


def _purpose(field: FieldInfo) -> str:
    inner = section_in(field.annotation)
    return (inner.__doc__ or "").strip().splitlines()[0] if inner else ""


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _values(field: FieldInfo) -> str:
    schemas = [item.json_schema or {} for item in _constraints(field) if isinstance(item, WithJsonSchema)]
    choices = _choices(field.annotation) or next((tuple(s["enum"]) for s in schemas if "enum" in s), ())
    if choices:
        return ", ".join(f"`{c}`" for c in choices)
    bounds = {
        f"{sign} {getattr(item, name):g}"
        for item in _constraints(field)
        for name, sign in _SIGNS.items()
        if isinstance(getattr(item, name, None), int | float)
    }
    return " and ".join(sorted(bounds, reverse=True))


def _constraints(field: FieldInfo) -> list[Any]:
    """Return the constraints of a field and of the type that it is annotated with."""
    items = list(field.metadata)
    for part in (field.annotation, *get_args(field.annotation)):
        for item in getattr(part, "__metadata__", ()):
            items += item.metadata if isinstance(item, FieldInfo) else [item]
    return items


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((choices for part in get_args(annotation) if (choices := _choices(part))), ())


if __name__ == "__main__":
    print(reference(), end="")
