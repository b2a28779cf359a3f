"""Describe mistakes in a configuration: the field, what is wrong, what would be right."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard, get_args

from pydantic import ValidationError

from ..errors import did_you_mean
from .model import Config
from .section import ALSO, Section

Location = tuple[int | str, ...]
#: type of a value that should be text -> reason why YAML reads it as that type
_READ_AS = {
    bool: "YAML reads yes, no, on and off as true and false",
    int: "YAML reads digits as a number",
    float: "YAML reads digits as a number",
    datetime.date: "YAML reads it as a date",
}
_LENGTH_ERRORS = ("too_short", "too_long")  # of a list or mapping, caused perhaps by mistakes inside it
_MAX_LENGTH = 80  # characters of a value

#: type of a pydantic error -> function of its context that returns the end of the sentence
_DESCRIPTIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda context: "is missing",
    "string_type": lambda context: "should be text",
    "int_type": lambda context: "should be a whole number",
    "int_parsing": lambda context: "should be a whole number",
    "int_from_float": lambda context: "should be a whole number",
    "int_parsing_size": lambda context: "is too large a number",
    "float_type": lambda context: "should be a number",
    "float_parsing": lambda context: "should be a number",
    "bool_type": lambda context: "should be true or false",
    "bool_parsing": lambda context: "should be true or false",
    "path_type": lambda context: "should be the path of one file or folder",
    "tuple_type": lambda context: "should be a list",
    "list_type": lambda context: "should be a list",
    "dict_type": lambda context: "should be a section with fields of its own",
    "model_type": lambda context: "should be a section with fields of its own",
    "mapping_type": lambda context: "should be a section with fields of its own",
    "invalid_key": lambda context: "a field's name should be text",
    "recursion_loop": lambda context: "contains itself",
    "too_short": lambda context: f"should have {_entries('at least', context['min_length'])}",
    "too_long": lambda context: f"should have {_entries('at most', context['max_length'])}",
}


def as_one(mistakes: Sequence[str]) -> str:
    """Return one mistake unchanged, or several with their number, a line each."""
    unique = list(dict.fromkeys(mistakes))
    return unique[0] if len(unique) == 1 else "\n  ".join([f"{len(unique)} mistakes", *unique])


def sentences(error: ValidationError, settings: Mapping[Location, str] | None = None) -> list[str]:
    """Return a sentence for each problem.

    Args:
        settings: location of a field set on the command line -> the setting, which its mistakes begin with.
    """
    lines = []
    for details in _distinct_errors(error):
        location = tuple(part for part in details["loc"] if part != "[key]")
        texts = [text for path, text in (settings or {}).items() if location[: len(path)] == path]
        source = f"--set {texts[-1]}: " if texts else ""
        lines += [source + _sentence({**details, "msg": problem}) for problem in details["msg"].split(ALSO)]
    return list(dict.fromkeys(lines))


def _distinct_errors(error: ValidationError) -> list[Any]:
    """Return the errors without those that follow from others.

    With several ``tasks``, ``task`` is a copy of the first one and repeats its errors.
    """
    errors = error.errors()
    parents = {details["loc"][:-1] for details in errors}
    errors = [details for details in errors if not (details["type"] in _LENGTH_ERRORS and details["loc"] in parents)]
    locations = {details["loc"][2:] for details in errors if details["loc"][:2] == ("tasks", 0)}
    return [details for details in errors if not (details["loc"][:1] == ("task",) and details["loc"][1:] in locations)]


def _sentence(details: Any) -> str:
    location: Location = tuple(part for part in details["loc"] if part != "[key]")
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        names = _fields_at(location[:-1])
        hint = did_you_mean(str(location[-1]), names, before="", after=" ")
        return f"unknown field {_path(location)}; {hint}allowed here: {', '.join(names)}"
    if kind == "missing" and location and isinstance(location[-1], int):  # an entry of a list of fixed length
        return f"{_path(location[:-1])}: should have more entries; number {location[-1] + 1} is missing"
    describe = _DESCRIPTIONS.get(kind)
    if describe is not None:
        message = describe(details.get("ctx", {}))
    else:
        message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind == "literal_error" and isinstance(value, str):
        choices = [part.strip("'") for part in details["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        message += did_you_mean(value, choices)
    if kind == "model_type":
        message += f": {', '.join(_fields_at(location))}"
    if value is None and kind not in ("missing", "value_error"):
        message += "; nothing is given"
    elif kind in _DESCRIPTIONS.keys() - {"missing"} or not isinstance(value, dict | list | tuple):
        message += f" (got {_format(value)})"
    if kind == "string_type" and type(value) in _READ_AS:
        message += f"; {_READ_AS[type(value)]}, so put it in quotes"
    return f"{_path(location)}: {message}" if location else message


def _format(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


def _entries(bound: str, count: int) -> str:
    return f"{bound} {count} entr{'y' if count == 1 else 'ies'}"


def _path(location: Location) -> str:
    return ".".join(map(str, location))


def _fields_at(location: Location) -> list[str]:
    """Return the names of the fields of the section at ``location``; list positions and mapping keys are skipped."""
    section: type[Section] = Config
    for part in location:
        field = section.model_fields.get(str(part))
        section = (section_in(field.annotation) if field else None) or section
    return list(section.model_fields)


def is_section(value: Any) -> TypeGuard[type[Section]]:
    return isinstance(value, type) and issubclass(value, Section)


def section_in(annotation: Any) -> type[Section] | None:
    """Return the section that a field holds, alone or in a list or mapping; None if it holds none."""
    candidates = (annotation, *get_args(annotation))
    return next((part for part in candidates if is_section(part)), None)
