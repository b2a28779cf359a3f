"""The two files of a saved adapter or pool: ``<stem>.json`` says what it is, ``<stem>.safetensors`` has the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..baselines import METHODS
from ..config import Model
from ..errors import SlatError
from ..files import DIGEST, check_finite, check_signature, load_arrays, read_json, save_arrays, signed, write_json
from ..records import AdapterFacts, TrainingJob
from ..structure import read_structure
from ..training.protocol import State

_WEIGHTS = "weights"  # field of the JSON: digest of the arrays that belong to it
_FIELDS = {"model", "labels", "scale", "max_length", "columns", "unit", "measures"}  # of `adapter.json`


@contextmanager
def naming(stem: str, folder: Path) -> Iterator[None]:
    """Let the message on what does not fit a model begin with the adapter or pool."""
    try:
        yield
    except SlatError as error:
        raise SlatError(f"{stem} {folder}: {error}") from error


def write_parts(folder: Path, stem: str, description: Mapping[str, Any], state: State) -> None:
    """Write both files, each whole or not there, with digests."""
    weights = save_arrays(folder / f"{stem}.safetensors", state)
    write_json(folder / f"{stem}.json", signed({**description, _WEIGHTS: weights}))


def read_parts(folder: Path, stem: str, *formats: str) -> tuple[dict[str, Any], State]:
    """Read both files: the content of ``<stem>.json``, and the weights.

    Raises:
        SlatError: not such a folder, damaged, or of none of the ``formats``.
    """
    for name in (f"{stem}.json", f"{stem}.safetensors"):
        if not (folder / name).exists():
            raise SlatError(f"{stem} {folder}: no {name} there")
    try:
        raw = read_json(folder / f"{stem}.json")
        description = check_signature(raw, folder / f"{stem}.json") if isinstance(raw, dict) else {}
        state = load_arrays(folder / f"{stem}.safetensors", description.get(_WEIGHTS))
        check_finite(state, folder / f"{stem}.safetensors")
    except SlatError as error:
        raise SlatError(f"{stem} {error}") from error
    found = description.get("format")
    if found not in formats:
        raise SlatError(f"{stem} {folder}: format {found!r} is not {formats[0]!r}")
    if damage := _damage(description) if stem == "adapter" else _damage_of_pool(description):
        raise SlatError(f"{stem} {folder}: damaged ({damage})")
    return description, state


def _damage_of_pool(description: Mapping[str, Any]) -> str:
    """Say what a saved pool lacks; else nothing."""
    tasks = description.get("tasks")
    if not isinstance(tasks, dict) or not all(isinstance(told, dict) for told in tasks.values()):
        return "shared.json has no tasks"
    try:
        structure = read_structure(description["structure"])
        Model.model_validate(description["model"])
    except (KeyError, TypeError, AttributeError, ValidationError, SlatError) as error:
        return next(iter(str(error).splitlines()))
    if list(getattr(structure, "tasks", ())) != list(tasks):
        return "shared.json has other tasks than its structure"
    return next((f"{task}: {damage}" for task, told in tasks.items() if (damage := _damage(told))), "")


def _damage(description: Mapping[str, Any]) -> str:
    """Say what a saved adapter lacks; else nothing."""
    if missing := sorted(_FIELDS - description.keys()):
        return f"adapter.json has no {missing[0]}"
    try:
        Model.model_validate(description["model"])
    except ValidationError as error:
        return _first(error, "model")
    try:
        job = TrainingJob(**description["unit"])
    except TypeError as error:  # fields of a job
        return str(error)
    if not isinstance(job.method, str) or job.method not in METHODS:
        return f"no method is called {job.method!r}"
    try:
        facts = {name: value for name, value in description.items() if name not in ("format", _WEIGHTS, DIGEST)}
        AdapterFacts.model_validate(facts)
        if job.method == "slat":
            read_structure(job.options["structure"])
    except ValidationError as error:
        return _first(error)
    except KeyError:
        return "unit.options has no structure"
    except (TypeError, AttributeError, SlatError) as error:
        return str(error)
    return ""


def _first(error: ValidationError, section: str = "") -> str:
    first = error.errors()[0]
    field = ".".join(part for part in (section, *map(str, first["loc"])) if part)
    return f"{field}: {' '.join(first['msg'].split())}"
