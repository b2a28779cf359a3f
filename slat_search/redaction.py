"""Keep secrets of URIs out of what leaves the process: messages, logs and files."""

from __future__ import annotations

import re
from urllib.parse import unquote

#: what stands in the place of a secret
HIDDEN = "***"
#: a scheme and all that follows it but a sign that ends a sentence; `Path` leaves one slash of two
_URI = re.compile(r"(?<![\w+.-])([A-Za-z][A-Za-z0-9+.-]*:/{1,3})([^\s\"'`<>]*[^\s\"'`<>:;,.)])")
#: user and password, up to the last `@`: where nobody encoded them, they hold any sign
_USER = re.compile(r"^(?:[^/?#@]*:.*|[^/?#@]+)@")
_PARTS = re.compile(r"([^?#]*)([?#]?)(.*)")
#: what may be told of the options of a URI; any other may be a secret
_HARMLESS = {"region", "scheme", "anonymous", "allow_bucket_creation", "allow_bucket_deletion", "revision", "version"}


def redact(text: str) -> str:
    """Remove user, password and option values from the URIs of a text, except harmless options.

    ``s3://KEY:SECRET@bucket/runs?region=eu&token=x`` becomes ``s3://***@bucket/runs?region=eu&token=***``.
    """
    return _URI.sub(_without_secrets, text) if ":/" in text else text


def is_redacted(text: str) -> bool:
    """Whether a URI was redacted, so that it cannot be opened."""
    return any(HIDDEN in found[0] for found in _URI.finditer(text))


def _without_secrets(found: re.Match[str]) -> str:
    scheme, rest = found.groups()
    parts = _PARTS.fullmatch(_USER.sub(f"{HIDDEN}@", rest))
    assert parts is not None
    place, mark, options = parts.groups()
    return scheme + place + mark + re.sub(r"[^&;?#]+", _without_value, options)


def _without_value(option: re.Match[str]) -> str:
    name, is_named, value = option[0].partition("=")
    if is_named and unquote(name).lower() in _HARMLESS and "@" not in value:
        return option[0]
    return f"{name}={HIDDEN}" if is_named else HIDDEN
