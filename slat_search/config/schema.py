"""The JSON schema of the configuration, for editors and other programs."""

from __future__ import annotations

from typing import Any

from .baselines import METHOD_DEFAULTS, SETS
from .model import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: sections that a name alone may stand for
_NAMED_SECTIONS = ("Task", "Model")
#: keywords of a field that stand beside its forms
_ANNOTATIONS = ("default", "description")


def schema() -> dict[str, Any]:
    """Return the schema of the YAML with its short forms: a value instead of a list of one, and the mere name of a
    task, model or baseline. Old names of fields are left out."""
    root = Config.model_json_schema()
    for section in (root, *root["$defs"].values()):
        fields = section.get("properties", {})
        section["properties"] = {name: _with_short_forms(field) for name, field in fields.items()}
    return {"$schema": DIALECT, **root, "title": "A run of slat"}


def _with_short_forms(field: dict[str, Any]) -> dict[str, Any]:
    annotations = {name: field[name] for name in _ANNOTATIONS if name in field}
    constraints = {name: value for name, value in field.items() if name not in (*_ANNOTATIONS, "title")}
    forms = [form for choice in constraints.get("anyOf", [constraints]) for form in _short_forms(choice)]
    return {**annotations, **(forms[0] if len(forms) == 1 else {"anyOf": forms})}


def _short_forms(field: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schema of a field, and those of its short forms."""
    if isinstance(field.get("items"), dict) and field.get("type") == "array":
        items = _short_forms(field["items"])
        return [{**field, "items": items[0] if len(items) == 1 else {"anyOf": items}}, *items]
    section = field.get("$ref", "").rpartition("/")[2]
    if section in _NAMED_SECTIONS:
        return [field, {"type": "string"}]
    if section == "Baseline":
        return [field, {"enum": [*SETS, *METHOD_DEFAULTS]}]
    return [field]
