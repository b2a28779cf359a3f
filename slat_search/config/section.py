"""Base of all sections of the YAML."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def by_name(raw: Any) -> Any:
    """Fields of a section that may stand as its name alone."""
    return {"name": raw} if isinstance(raw, str) else raw
