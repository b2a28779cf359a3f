"""From a YAML file to a checked configuration, with one sentence for every mistake."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeGuard, get_args

import yaml
from pydantic import ValidationError

from ..errors import SlatError
from .model import Config
from .section import Section
from .task import Task


def load_config(path: str | Path) -> Config:
    """Read and check a YAML file; paths of data files in it count from the file's folder.

    Raises:
        SlatError: missing file, malformed YAML, or an unknown or wrong field, named by its path.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise SlatError(f"config {path}: {reason}") from error
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise SlatError(f"config {path}: not valid YAML{line}: {getattr(error, 'problem', error)}") from error
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise SlatError(f"config {path}: must be a mapping of fields, not a {type(raw).__name__}")
    try:
        config = Config.model_validate({"name": path.stem, **raw})
    except ValidationError as error:
        raise SlatError(f"config {path}: {explain(error)}") from error
    folder = path.resolve().parent  # absolute, so that workers and the copy in the run folder mean the same file
    named = Path(config.model.name).expanduser()
    found = [place for place in (folder / named, named.absolute()) if config.model.name and place.is_dir()]
    model = {"name": str(found[0])} if found else {}
    earlier = tuple(folder / run for run in config.search.earlier)
    return config.model_copy(
        update={
            "task": _found(config.task, folder),
            "tasks": tuple(_found(task, folder) for task in config.tasks),
            "model": config.model.model_copy(update=model),
            "search": config.search.model_copy(update={"earlier": earlier}),
        }
    )


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


def explain(error: ValidationError) -> str:
    """The first problem in one sentence: field path, what is wrong, what is allowed."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        known = _fields_at(first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"unknown field {path}; {hint}allowed here: {', '.join(known)}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not isinstance(first["input"], dict):
        message += f" (got {first['input']!r})"
    return f"{path}: {message}" if path else message


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section at ``location``; list positions and mapping keys lead no deeper."""
    section: type[Section] = Config
    for part in location:
        field = section.model_fields.get(str(part))
        section = (section_in(field.annotation) if field else None) or section
    return list(section.model_fields)


def is_section(value: Any) -> TypeGuard[type[Section]]:
    return isinstance(value, type) and issubclass(value, Section)


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field is, or holds in a list or mapping."""
    candidates = (annotation, *get_args(annotation))
    return next((part for part in candidates if is_section(part)), None)
