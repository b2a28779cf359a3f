"""YAML in which no field of a mapping may stand twice."""

from __future__ import annotations

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Notes each field that a mapping has twice; what ``<<`` merges may be said anew."""

    def __init__(self, text: str):
        super().__init__(text)
        self.repeated: list[str] = []

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                first = lines[key.tag, key.value]
                self.repeated.append(f"{key.value} stands there twice, at lines {first} and {line}")
            lines.setdefault((key.tag, key.value), line)
        return node


class MalformedError(ValueError):
    """What is no YAML, in one sentence."""


def read_yaml(text: str) -> tuple[Any, list[str]]:
    """Return the value of one YAML document, and a sentence for each field that stands in it twice.

    Raises:
        MalformedError: it is not YAML, or several documents.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data(), loader.repeated
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if problem == "but found another document":
            problem = "a second document begins there; a run has one"
        raise MalformedError(f"not valid YAML{line}: {problem}") from error
