"""From a YAML file to a checked configuration, with one sentence for every mistake."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..errors import SlatError
from ..files import read_bytes, read_listed
from .mistakes import explain
from .model import Config
from .section import OldNameWarning
from .task import Task

_MOST_BYTES = 2**19
_MOST_VALUES = 100_000


def load_config(path: str | Path, kept: bool = False) -> Config:
    """Read and check a YAML file; paths of data files in it count from the file's folder.

    Args:
        kept: the file is that of a run, so it warns of no old names: nobody has to change it.

    Raises:
        SlatError: missing or empty file, malformed YAML, a field that stands there twice, or unknown or wrong fields,
            each named by its path.
    """
    path = Path(path)
    raw = _fields(path, kept)
    try:
        with warnings.catch_warnings(record=True) as old_names:
            warnings.simplefilter("always", OldNameWarning)
            config = Config.model_validate({"name": _name(path), **raw})
    except ValidationError as error:
        raise SlatError(f"config {path}: {explain(error)}") from error
    for warning in () if kept else old_names:
        warnings.warn(f"config {path}: {warning.message}", warning.category, stacklevel=2)
    folder = path.resolve().parent  # absolute, so that workers and the copy in the run folder mean the same file
    named = Path(config.model.name).expanduser()
    found = [place for place in (folder / named, named.absolute()) if config.model.name and place.is_dir()]
    model = {"name": str(found[0])} if found else {}
    earlier = tuple(folder / run for run in config.search.warm_start)
    return config.model_copy(
        update={
            "task": _found(config.task, folder),
            "tasks": tuple(_found(task, folder) for task in config.tasks),
            "model": config.model.model_copy(update=model),
            "search": config.search.model_copy(update={"warm_start": earlier}),
        }
    )


def _fields(path: Path, kept: bool) -> dict[Any, Any]:
    """The mapping that a file holds; that of a run is compared with its digest."""
    try:
        text = (read_listed(path) if kept else read_bytes(path, _MOST_BYTES)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SlatError(f"config {path}: is not UTF-8 text ({error})") from error
    except SlatError as error:
        raise SlatError(f"config {error}") from error
    try:
        raw = yaml.load(text, _Loader)
    except _RefusedError as error:
        raise SlatError(f"config {path}: {error}") from error
    except (ValueError, RecursionError) as error:  # a date that is none, a number of thousands of digits, deep nesting
        detail = "it is nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise SlatError(f"config {path}: not valid YAML: {detail}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if problem == "but found another document":
            problem = "a second document begins there; a run has one"
        raise SlatError(f"config {path}: not valid YAML{line}: {problem}") from error
    if raw is None or raw == {}:
        raise SlatError(f"config {path}: is empty; the least is a task, such as `task: bbc-headline`")
    if not isinstance(raw, dict):
        raise SlatError(f"config {path}: must be a mapping of fields, not a {type(raw).__name__}")
    return raw


def _name(path: Path) -> str:
    """The file's name, as far as it can name a run."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-._") or Config.model_fields["name"].default


class _RefusedError(yaml.YAMLError):
    """YAML that we take no configuration from, in words."""


class _Loader(yaml.SafeLoader):
    """YAML in which no field of a mapping may stand twice; what ``<<`` merges may be said anew.

    What aliases repeat counts each time, so that a small file cannot stand for millions of values.
    """

    def __init__(self, stream: Any):
        super().__init__(stream)
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        node = super().compose_node(parent, index)
        if node is not None and id(node) not in self._sizes:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in pairs for part in pair]
            self._sizes[id(node)] = size = 1 + sum(self._sizes.get(id(part), 0) for part in parts)
            if size > _MOST_VALUES:
                raise _RefusedError(f"stands for more than {_MOST_VALUES:,} values; a configuration has hundreds")
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                raise _RefusedError(f"{key.value} stands there twice, at lines {lines[key.tag, key.value]} and {line}")
            lines[key.tag, key.value] = line
        return node


def _found(task: Task, folder: Path) -> Task:
    """With the paths of its files as they are from ``folder``."""
    files: dict[str, Any] = {
        field: folder / value
        for field in ("train", "validation", "test")
        if (value := getattr(task, field)) is not None
    }
    if task.hub is not None and (folder / task.hub).is_dir():
        files["hub"] = str(folder / task.hub)
    return task.model_copy(update=files)
