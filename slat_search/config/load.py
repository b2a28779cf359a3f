"""Load and check a configuration from YAML, with one sentence for each mistake."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import SlatError
from ..files import read_bytes, read_listed
from .mistakes import as_one, sentences
from .model import Config
from .reading import MOST_BYTES, MalformedError, read_yaml
from .section import OldNameWarning
from .settings import apply_setting
from .task import Task

#: section -> fields that stored configurations of earlier versions lack, with the values that these versions used
_EARLIER_VALUES = {"training": {"head_first": 0.0}, "gates": {"surplus": 1.0}}


def load_config(path: str | Path, stored: bool = False, settings: Sequence[str] = ()) -> Config:
    """Read and check a YAML file; paths of data files in it are relative to its folder.

    Args:
        stored: whether the file is that of a run: old names then cause no warning, as nobody has to change them, and a
            field that is newer than the run gets the value that the run used, which may differ from the default.
        settings: fields that are set on the command line, ``KEY=VALUE`` each; see :func:`.apply_setting`.

    Raises:
        SlatError: missing or empty file, malformed YAML, or fields that are unknown, wrong or repeated, each named by
            its path in a line of its own.
    """
    path = Path(path)
    raw, mistakes = _read_fields(path, stored)
    for section, defaults in _EARLIER_VALUES.items() if stored else ():
        if isinstance(fields := raw.get(section, {}), Mapping):
            raw[section] = {**defaults, **fields}
    return checked(raw, f"config {path}", path.resolve().parent, _run_name(path), stored, settings, mistakes)


def as_config(config: Config | Mapping[str, Any] | str | Path) -> Config:
    """Return a configuration unchanged, from its fields, or from its YAML file; paths among fields are relative to the
    working directory.

    Raises:
        SlatError: see :func:`load_config`.
    """
    if isinstance(config, Config):
        return config
    return checked(config, "config", Path.cwd()) if isinstance(config, Mapping) else load_config(config)


def checked(
    fields: Mapping[Any, Any],
    source: str,
    folder: Path,
    name: str = Config.model_fields["name"].default,
    stored: bool = False,
    settings: Sequence[str] = (),
    mistakes: Sequence[str] = (),
) -> Config:
    """Check the fields of a configuration.

    Args:
        source: source of the fields, for messages.
        folder: folder that paths of data files are relative to.
        name: name of the run, if the fields give none.
        stored, settings: see :func:`load_config`.
        mistakes: earlier mistakes, a sentence each.

    Raises:
        SlatError: ``mistakes``, or fields that are unknown or wrong; the message has a line for each.
    """
    problems, locations = [*mistakes], {}
    raw = dict(fields)
    for setting in settings:
        try:
            raw, location = apply_setting(raw, setting)
            locations[location] = setting
        except ValueError as error:
            problems.append(f"--set {setting}: {error}")
    with warnings.catch_warnings(record=True) as old_names:
        warnings.simplefilter("always", OldNameWarning)
        try:
            config = Config.model_validate({"name": name, **raw})
        except ValidationError as error:
            problems += sentences(error, locations)
            raise SlatError(f"{source}: {as_one(problems)}") from error
    if problems:
        raise SlatError(f"{source}: {as_one(problems)}")
    for warning in () if stored else old_names:
        warnings.warn(f"{source}: {warning.message}", warning.category, stacklevel=3)
    return _resolve_paths(config, folder)


def _resolve_paths(config: Config, folder: Path) -> Config:
    """Return a configuration with absolute paths, so that they mean the same files in workers and in the run folder."""
    model_path = Path(config.model.name).expanduser()
    folders = [path for path in (folder / model_path, model_path.absolute()) if config.model.name and path.is_dir()]
    model = {"name": str(folders[0])} if folders else {}
    warm_start = tuple(folder / run for run in config.search.warm_start)
    return config.model_copy(
        update={
            "task": _resolve_task(config.task, folder),
            "tasks": tuple(_resolve_task(task, folder) for task in config.tasks),
            "model": config.model.model_copy(update=model),
            "search": config.search.model_copy(update={"warm_start": warm_start}),
        }
    )


def _read_fields(path: Path, stored: bool) -> tuple[dict[Any, Any], list[str]]:
    """Return the mapping in a file, and a sentence for each repeated field; the file of a run is compared with its
    digest."""
    try:
        text = (read_listed if stored else read_bytes)(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SlatError(f"config {path}: is not UTF-8 text ({error})") from error
    except SlatError as error:
        raise SlatError(f"config {error}") from error
    try:
        raw, duplicates = read_yaml(text)
    except MalformedError as error:
        raise SlatError(f"config {path}: {error}") from error
    if raw is None or raw == {}:
        raise SlatError(f"config {path}: is empty; the least is a task, such as `task: bbc-headline`")
    if not isinstance(raw, dict):
        raise SlatError(f"config {path}: must be a mapping of fields, not a {type(raw).__name__}")
    return raw, duplicates


def _run_name(path: Path) -> str:
    """Return the name of a run from that of its file, without characters that a run name cannot have."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-._") or Config.model_fields["name"].default


def _resolve_task(task: Task, folder: Path) -> Task:
    """Return a task whose file paths are resolved from ``folder``."""
    files: dict[str, Any] = {
        field: folder / value
        for field in ("train", "validation", "test")
        if (value := getattr(task, field)) is not None
    }
    if task.hub is not None and (folder / task.hub).is_dir():
        files["hub"] = str(folder / task.hub)
    return task.model_copy(update=files)
