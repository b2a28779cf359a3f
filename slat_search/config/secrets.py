"""Removal of secrets from a configuration that is stored: URIs lose user, password and token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import SlatError
from ..redaction import is_redacted, redact
from .model import Config
from .task import Task

#: fields of a task that may hold an address; texts of prompts hold none, and stay as they are
_ADDRESS_FIELDS = ("train", "validation", "test", "hub", "subset")


def without_secrets(config: Config) -> Config:
    """Return a configuration whose addresses have lost their secrets; see :func:`.redact`."""
    warm_start = tuple(map(_redact_address, config.search.warm_start))
    return config.model_copy(
        update={
            "name": redact(config.name),
            "task": _redact_task(config.task),
            "tasks": tuple(_redact_task(task) for task in config.tasks),
            "model": config.model.model_copy(update={"name": redact(config.model.name)}),
            "search": config.search.model_copy(update={"warm_start": warm_start}),
        }
    )


def check_secrets(config: Config) -> None:
    """Check that no URI was redacted, as in the ``config.yaml`` of a run.

    Raises:
        SlatError: a redacted URI, which nothing can be opened by.
    """
    addresses = {"model.name": config.model.name}
    for number, task in enumerate(config.tasks or (config.task,)):
        section = f"tasks.{number}" if config.tasks else "task"
        addresses |= {f"{section}.{field}": str(getattr(task, field)) for field in _ADDRESS_FIELDS}
    for field, address in addresses.items():
        if is_redacted(address):
            raise SlatError(
                f"{field}: {address} is the copy that a run keeps, without its secret; give the address with its "
                f"secret, by `--set {field}=...` or in the configuration that the run was started with"
            )


def _redact_task(task: Task) -> Task:
    return task.model_copy(update={field: _redact_address(getattr(task, field)) for field in _ADDRESS_FIELDS})


def _redact_address(address: Any) -> Any:
    if address is None:
        return None
    return Path(redact(str(address))) if isinstance(address, Path) else redact(address)
