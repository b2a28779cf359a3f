"""Shared by all HTML pages: templates, figures inside them, the tables at their end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from ..records import Environment
from .svg import kind_styles


def template(name: str) -> jinja2.Template:
    """A template of this package; everything from the user is escaped, and an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("slat_search.analysis", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.globals |= {"kind_styles": kind_styles(), "headings": headings}
    return environment.get_template(name)


def headings(body: str) -> list[tuple[str, Markup]]:
    """Return id and title of each section of a page, for its contents."""
    return [(id, Markup(title)) for id, title in re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body)]


def described(environment: Environment) -> list[tuple[str, str]]:
    """Return what is said of model, hardware and versions, as pairs of a dotted name and a text."""
    return flat({name: value for name, value in environment.to_dict().items() if name != "tasks"})


def task_rows(environment: Environment) -> list[dict[str, str]]:
    """Return the sizes of each task, as cells."""
    return [
        {
            "task": task.name,
            **{split: f"{getattr(task, split):,}" for split in ("train", "validation", "test")},
            "classes": str(len(task.labels)),
            "majority": f"{task.majority:.3f}",
            **({"notes": "; ".join(task.notes)} if any(its.notes for its in environment.tasks) else {}),
        }
        for task in environment.tasks
    ]


def flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as pairs of a dotted name and a text."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{prefix}{key}"
        rows += flat(item, f"{name}.") if isinstance(item, dict) else [(name, str(item))]
    return rows


def as_yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(config), sort_keys=False)
