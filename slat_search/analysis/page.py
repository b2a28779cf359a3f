"""What all HTML pages share: templates, figures inside them, the tables at their end."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2
import yaml

from .svg import kind_styles


def template(name: str) -> jinja2.Template:
    """A template of this package; everything from the user is escaped, and an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("slat_search.analysis", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.globals["kind_styles"] = kind_styles()
    return environment.get_template(name)


def embedded(path: Path) -> str:
    """A PNG as the source of an image, so that the page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as pairs of a dotted name and a text."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{prefix}{key}"
        rows += flat(item, f"{name}.") if isinstance(item, dict) else [(name, str(item))]
    return rows


def as_yaml(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False)
