"""A found structure of ``structures/*.json``, as far as pages need it; the structure engine reads more of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from ..errors import SlatError
from ..files import as_text, parse_json, read_listed
from .base import sentence


class _Kept(BaseModel):
    """Required fields; others are passed on unchecked."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class _KeptModule(_Kept):
    layer: NonNegativeInt
    name: str
    role: str
    kind: str
    size: PositiveInt
    params: NonNegativeInt
    entries: list[list[NonNegativeInt]] | None = None
    users: list[list[NonNegativeInt]] | None = None


class _KeptStructure(_Kept):
    modules: list[_KeptModule]
    tasks: list[str] | None = None


def read_kept_structure(path: Path) -> dict[str, Any]:
    """Return the JSON of a found structure.

    Raises:
        SlatError: missing or damaged.
    """
    raw = parse_json(as_text(read_listed(path), path), path)
    try:
        _KeptStructure.model_validate(raw)
    except ValidationError as error:
        raise SlatError(f"{path}: {sentence(error)}") from error
    return raw
