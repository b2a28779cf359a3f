"""The JSON schema of the configuration, for editors and other programs."""

from __future__ import annotations

from typing import Any

from .baselines import METHOD_DEFAULTS, SETS
from .model import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: sections that may stand as their name alone
_NAMED = ("Task", "Model")
_NOTES = ("default", "description")


def schema() -> dict[str, Any]:
    """Return the schema of the YAML, short forms included: a value in the place of a list of one, a task, model or
    baseline by its name. Old names of fields are not in it."""
    whole = Config.model_json_schema()
    for section in (whole, *whole["$defs"].values()):
        section["properties"] = {name: _field(field) for name, field in section.get("properties", {}).items()}
    return {"$schema": DIALECT, **whole, "title": "A run of slat"}


def _field(field: dict[str, Any]) -> dict[str, Any]:
    notes = {name: field[name] for name in _NOTES if name in field}
    plain = {name: value for name, value in field.items() if name not in (*_NOTES, "title")}
    forms = [form for choice in plain.get("anyOf", [plain]) for form in _forms(choice)]
    return {**notes, **(forms[0] if len(forms) == 1 else {"anyOf": forms})}


def _forms(field: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the field, and its short forms."""
    if isinstance(field.get("items"), dict) and field.get("type") == "array":
        items = _forms(field["items"])
        return [{**field, "items": items[0] if len(items) == 1 else {"anyOf": items}}, *items]
    section = field.get("$ref", "").rpartition("/")[2]
    if section in _NAMED:
        return [field, {"type": "string"}]
    if section == "Baseline":
        return [field, {"enum": [*SETS, *METHOD_DEFAULTS]}]
    return [field]
