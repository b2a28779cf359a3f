"""Base of all sections of the YAML."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Fields of one part of the YAML; where a list is wanted, a value alone is a list of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _lists_of_one(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields
        alone = {
            name: (value,)
            for name, value in data.items()
            if isinstance(value, str | int | float) and name in fields and _is_list(fields[name].annotation)
        }
        return {**data, **alone}


def _is_list(annotation: Any) -> bool:
    """Whether a field holds any number of values."""
    return any(
        get_origin(part) is tuple and get_args(part)[1:] == (...,) for part in (annotation, *get_args(annotation))
    )


def by_name(raw: Any) -> Any:
    """Fields of a section that may stand as its name alone."""
    return {"name": raw} if isinstance(raw, str) else raw
