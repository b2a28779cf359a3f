"""Read JSON as columns of values."""

from __future__ import annotations

import json
import re
from typing import Any

from .delimited import MalformedError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def objects_in(text: str, suffix: str) -> dict[str, list[Any]]:
    """Return the columns of JSON: one object per line, or in a ``.json`` also one list of objects.

    A value that a row lacks is None.

    Raises:
        MalformedError: invalid JSON, a row that is no object, a repeated name, or a lone surrogate.
    """
    if suffix == ".json" and text.lstrip().startswith("["):
        try:
            objects = list(enumerate(json.loads(text, object_pairs_hook=_parse_object), 1))
        except json.JSONDecodeError as error:
            raise MalformedError(f"line {error.lineno} is not JSON ({error.msg} at character {error.colno})") from None
        except (ValueError, RecursionError) as error:
            raise MalformedError(first_line(error)) from None
        if not objects:
            raise MalformedError("the list is empty")
        entry = "item"
    else:
        lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)  # no other line breaks: JSON text may hold U+2028
        objects = [(number, _parse_line(line, number)) for number, line in lines if line.strip()]
        entry = "line"
    for number, row in objects:
        if not isinstance(row, dict):
            raise MalformedError(f"{entry} {number} is JSON, but no object")
    if _SURROGATE.search(text):
        for number, row in objects:
            if not _is_unicode(json.dumps(row, ensure_ascii=False)):
                raise MalformedError(
                    f"{entry} {number} has half a character: a surrogate (\\ud800 to \\udfff) without its other"
                )
    names = list(dict.fromkeys(name for _, row in objects for name in row))
    return {name: [row.get(name) for _, row in objects] for name in names}


def _parse_line(line: str, number: int) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_parse_object)
    except json.JSONDecodeError as error:
        raise MalformedError(f"line {number} is not JSON ({error.msg} at character {error.pos + 1})") from None
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"line {number}: {first_line(error)}") from None


def _parse_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        duplicate = next(name for name, _ in pairs if sum(name == key for key, _ in pairs) > 1)
        raise ValueError(f"an object has {duplicate!r} twice")
    return fields


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error, or of its cause, which says more."""
    return (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
