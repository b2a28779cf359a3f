"""Base of all sections of the YAML."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]

#: separator of the problems of a section in one error
ALSO = "\n"


def check_all(problems: Iterable[str]) -> None:
    """Raise the problems of a section in one error.

    Raises:
        ValueError: there are problems.
    """
    if messages := list(problems):
        raise ValueError(ALSO.join(messages))


class OldNameWarning(FutureWarning):
    """A field or value has an old name, which the next version no longer takes."""


class Section(BaseModel):
    """Fields of one part of the YAML; where a list is wanted, a value alone is a list of one.

    Attributes:
        OLD_NAMES: names that fields had before -> those that they have now.
        OLD_VALUES: field -> values that it took before -> those that mean the same now.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    OLD_NAMES: ClassVar[Mapping[str, str]] = {}
    OLD_VALUES: ClassVar[Mapping[str, Mapping[Any, Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _lists_of_one(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = cls._rename(data)
        fields = cls.model_fields
        singles = {
            name: (value,)
            for name, value in data.items()
            if isinstance(value, str | int | float) and name in fields and _is_list(fields[name].annotation)
        }
        return {**data, **singles}

    @classmethod
    def _rename(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields with their current names and values.

        Raises:
            ValueError: a field is given under both of its names.
        """
        fields: dict[str, Any] = {}
        for name, value in data.items():
            new_name = cls.OLD_NAMES.get(name, name)
            if new_name != name:
                if new_name in data:
                    raise ValueError(f"{name} is the old name of {new_name}; give one of them")
                warnings.warn(f"{name} is called {new_name} now", OldNameWarning, stacklevel=2)
            if new_values := cls.OLD_VALUES.get(new_name):
                is_list = isinstance(value, list | tuple)
                value = [new_values.get(v, v) for v in value] if is_list else new_values.get(value, value)
            fields[new_name] = value
        return fields


def _is_list(annotation: Any) -> bool:
    """Return whether a field holds any number of values."""
    return any(
        get_origin(part) is tuple and get_args(part)[1:] == (...,) for part in (annotation, *get_args(annotation))
    )


def by_name(raw: Any) -> Any:
    """Expand a section given by its name."""
    return {"name": raw} if isinstance(raw, str) else raw
