"""YAML without repeated fields in a mapping, and without small files that expand to millions of values."""

from __future__ import annotations

from typing import Any

import yaml

MOST_BYTES = 2**19  # of YAML, which is read within seconds then
_MOST_VALUES = 100_000


class MalformedError(ValueError):
    """YAML that is no configuration, in one sentence."""


class _Loader(yaml.SafeLoader):
    """Notes each field that a mapping has twice; what ``<<`` merges may be said anew.

    What aliases repeat counts each time against the most values that a file may stand for.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self.repeated: list[str] = []
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        node = super().compose_node(parent, index)
        if node is not None and id(node) not in self._sizes:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in pairs for part in pair]
            self._sizes[id(node)] = size = 1 + sum(self._sizes.get(id(part), 0) for part in parts)
            if size > _MOST_VALUES:
                raise MalformedError(f"stands for more than {_MOST_VALUES:,} values; a configuration has hundreds")
        return node

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


def read_yaml(text: str) -> tuple[Any, list[str]]:
    """Return the value of one YAML document, and a sentence for each field that stands in it twice.

    Raises:
        MalformedError: it is not YAML, several documents, nested too deep, or aliases stand for too many values.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data(), loader.repeated
        finally:
            loader.dispose()
    except MalformedError:
        raise
    except RecursionError as error:
        raise MalformedError("not valid YAML: it is nested too deep") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none, a number of thousands of digits
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if problem == "but found another document":
            problem = "a second document begins there; a run has one"
        raise MalformedError(f"not valid YAML{line}: {problem}") from error
