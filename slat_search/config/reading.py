"""Read YAML safely: repeated fields are reported, and small files that expand to millions of values are rejected."""

from __future__ import annotations

from typing import Any

import yaml

MOST_BYTES = 2**19  # of a YAML file, so that it is read within seconds
_MAX_VALUES = 100_000


class MalformedError(ValueError):
    """YAML that is no configuration; the message is one sentence."""


class _Loader(yaml.SafeLoader):
    """Loader that records each field that a mapping has twice; fields that ``<<`` merges may be overridden.

    A value counts once for each alias against the largest number of values that a file may expand to.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self.repeated: list[str] = []
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        node = super().compose_node(parent, index)
        if node is not None and id(node) not in self._sizes:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            children = (
                node.value if isinstance(node, yaml.SequenceNode) else [child for pair in pairs for child in pair]
            )
            self._sizes[id(node)] = size = 1 + sum(self._sizes.get(id(child), 0) for child in children)
            if size > _MAX_VALUES:
                raise MalformedError(f"stands for more than {_MAX_VALUES:,} values; a configuration has hundreds")
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                first_line = lines[key.tag, key.value]
                self.repeated.append(f"{key.value} stands there twice, at lines {first_line} and {line}")
            lines.setdefault((key.tag, key.value), line)
        return node


def read_yaml(text: str) -> tuple[Any, list[str]]:
    """Return the value of one YAML document, and a sentence for each repeated field.

    Raises:
        MalformedError: not YAML, several documents, nested too deep, or aliases that expand to too many values.
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
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an invalid date, or a number of thousands of digits
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if problem == "but found another document":
            problem = "a second document begins there; a run has one"
        raise MalformedError(f"not valid YAML{line}: {problem}") from error
