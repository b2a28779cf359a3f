"""A configuration as it may be stored: URIs without user, password and token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import SlatError
from ..redaction import is_redacted, redact
from .model import Config
from .task import Task

#: fields of a task that name a place; texts of prompts are no places, and stay as they are
_PLACES = ("train", "validation", "test", "hub", "subset")


def without_secrets(config: Config) -> Config:
    """Return a configuration whose places have lost their secrets; see :func:`.redact`."""
    return config.model_copy(
        update={
            "name": redact(config.name),
            "task": _task(config.task),
            "tasks": tuple(_task(task) for task in config.tasks),
            "model": config.model.model_copy(update={"name": redact(config.model.name)}),
            "search": config.search.model_copy(update={"warm_start": tuple(map(_redacted, config.search.warm_start))}),
        }
    )


def check_secrets(config: Config) -> None:
    """Check that no URI was redacted, as in the ``config.yaml`` of a run.

    Raises:
        SlatError: one has; nothing can be opened by it.
    """
    places = {"model.name": config.model.name}
    for number, task in enumerate(config.tasks or (config.task,)):
        where = f"tasks.{number}" if config.tasks else "task"
        places |= {f"{where}.{field}": str(getattr(task, field)) for field in _PLACES}
    for field, place in places.items():
        if is_redacted(place):
            raise SlatError(
                f"{field}: {place} is the copy that a run keeps, without its secret; give the address with its secret, "
                f"by `--set {field}=...` or in the configuration that the run was started with"
            )


def _task(task: Task) -> Task:
    return task.model_copy(update={field: _redacted(getattr(task, field)) for field in _PLACES})


def _redacted(place: Any) -> Any:
    if place is None:
        return None
    return Path(redact(str(place))) if isinstance(place, Path) else redact(place)
