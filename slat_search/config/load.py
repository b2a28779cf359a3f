"""From a YAML file to a checked configuration, with one sentence for every mistake."""

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

#: fields that runs of earlier versions did not keep, as these did without what they say
_BEFORE = {"training": {"head_first": 0.0}, "gates": {"surplus": 1.0}}


def load_config(path: str | Path, stored: bool = False, settings: Sequence[str] = ()) -> Config:
    """Read and check a YAML file; paths of data files in it count from the file's folder.

    Args:
        stored: the file is that of a run, so it warns of no old names, as nobody has to change it; and a field that is
            newer than the run says what the run did, which the default may not.
        settings: fields that are set beside the file, ``KEY=VALUE`` each; see :func:`.apply_setting`.

    Raises:
        SlatError: missing or empty file, malformed YAML, and every field that is unknown, wrong or there twice, each
            named by its path in a line of its own.
    """
    path = Path(path)
    raw, mistakes = _fields(path, stored)
    for section, before in _BEFORE.items() if stored else ():
        if isinstance(kept := raw.get(section, {}), Mapping):
            raw[section] = {**before, **kept}
    return checked(raw, f"config {path}", path.resolve().parent, _name(path), stored, settings, mistakes)


def as_config(config: Config | Mapping[str, Any] | str | Path) -> Config:
    """Return a configuration as it is, of its fields, or of its YAML file; paths among fields count from the working
    directory.

    Raises:
        SlatError: see :func:`load_config`.
    """
    if isinstance(config, Config):
        return config
    return checked(config, "config", Path.cwd()) if isinstance(config, Mapping) else load_config(config)


def checked(
    fields: Mapping[Any, Any],
    where: str,
    folder: Path,
    name: str = Config.model_fields["name"].default,
    stored: bool = False,
    settings: Sequence[str] = (),
    mistakes: Sequence[str] = (),
) -> Config:
    """Check the fields of a configuration.

    Args:
        where: the source of the fields, for messages.
        folder: that paths of data files count from.
        name: of the run, where the fields give none.
        stored, settings: :func:`load_config`.
        mistakes: found before, a sentence each.

    Raises:
        SlatError: fields that are unknown or wrong; all of them, and the mistakes before them, a line each.
    """
    problems, places = [*mistakes], {}
    raw = dict(fields)
    for setting in settings:
        try:
            raw, place = apply_setting(raw, setting)
            places[place] = setting
        except ValueError as error:
            problems.append(f"--set {setting}: {error}")
    with warnings.catch_warnings(record=True) as old_names:
        warnings.simplefilter("always", OldNameWarning)
        try:
            config = Config.model_validate({"name": name, **raw})
        except ValidationError as error:
            problems += sentences(error, places)
            raise SlatError(f"{where}: {as_one(problems)}") from error
    if problems:
        raise SlatError(f"{where}: {as_one(problems)}")
    for warning in () if stored else old_names:
        warnings.warn(f"{where}: {warning.message}", warning.category, stacklevel=3)
    return _with_paths(config, folder)


def _with_paths(config: Config, folder: Path) -> Config:
    """Return it with absolute paths, so that workers and the copy in the run folder mean the same files."""
    named = Path(config.model.name).expanduser()
    folders = [place for place in (folder / named, named.absolute()) if config.model.name and place.is_dir()]
    model = {"name": str(folders[0])} if folders else {}
    earlier = tuple(folder / run for run in config.search.warm_start)
    return config.model_copy(
        update={
            "task": _found(config.task, folder),
            "tasks": tuple(_found(task, folder) for task in config.tasks),
            "model": config.model.model_copy(update=model),
            "search": config.search.model_copy(update={"warm_start": earlier}),
        }
    )


def _fields(path: Path, stored: bool) -> tuple[dict[Any, Any], list[str]]:
    """Return the mapping that a file holds, and the fields that stand in it twice; that of a run is compared with its
    digest."""
    try:
        text = (read_listed if stored else read_bytes)(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SlatError(f"config {path}: is not UTF-8 text ({error})") from error
    except SlatError as error:
        raise SlatError(f"config {error}") from error
    try:
        raw, repeated = read_yaml(text)
    except MalformedError as error:
        raise SlatError(f"config {path}: {error}") from error
    if raw is None or raw == {}:
        raise SlatError(f"config {path}: is empty; the least is a task, such as `task: bbc-headline`")
    if not isinstance(raw, dict):
        raise SlatError(f"config {path}: must be a mapping of fields, not a {type(raw).__name__}")
    return raw, repeated


def _name(path: Path) -> str:
    """The file's name, as far as it can name a run."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-._") or Config.model_fields["name"].default


def _found(task: Task, folder: Path) -> Task:
    """Resolve its file paths from ``folder``."""
    files: dict[str, Any] = {
        field: folder / value
        for field in ("train", "validation", "test")
        if (value := getattr(task, field)) is not None
    }
    if task.hub is not None and (folder / task.hub).is_dir():
        files["hub"] = str(folder / task.hub)
    return task.model_copy(update=files)
