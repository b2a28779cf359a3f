"""Rows that are chats: lists of messages whose last one is the response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import SlatError

_ROLES = ("system", "user", "assistant")
#: keys of role and text in a message: those of chat templates, and those of ShareGPT, which has its own role names
_KEYS = (("role", "content"), ("from", "value"))
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}


class Chat(NamedTuple):
    """Roles and texts of the messages before the response, and the response."""

    roles: tuple[str, ...]
    texts: tuple[str, ...]
    response: str


def is_message(value: Any) -> bool:
    """Return whether a value has a role and a text."""
    return _keys_of(value) is not None


def _keys_of(value: Any) -> tuple[str, str] | None:
    return next((keys for keys in _KEYS if isinstance(value, dict) and {*keys} <= value.keys()), None)


def chats_in(values: Sequence[Any], source: str) -> list[Chat]:
    """Return the chat of each row.

    Args:
        values: values of a column: lists of ``{"role": ..., "content": ...}``, or of ``{"from": "human" or "gpt",
            "value": ...}`` as in ShareGPT, or such lists as JSON.
        source: beginning of error messages.

    Raises:
        SlatError: a row that is no such list, or whose last message is not of the assistant.
    """
    return [_chat(value, f"{source} row {number}") for number, value in enumerate(values, 1)]


def prompts_in(values: Sequence[Any], source: str) -> list[Chat]:
    """Return each chat without its response; a plain text is a message of the user.

    Args:
        values: as in :func:`chats_in`, or texts; a last message of the assistant is left out.
        source: beginning of error messages.

    Raises:
        SlatError: a row that is neither a chat nor a text.
    """
    return [_prompt(value, f"{source} row {number}") for number, value in enumerate(values, 1)]


def _prompt(value: Any, where: str) -> Chat:
    if isinstance(value, str):
        try:
            messages = json.loads(value)
        except (ValueError, RecursionError):
            messages = None
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            if not value.strip():
                raise SlatError(f"{where} has an empty text")
            return Chat(("user",), (value,), "")
        value = messages
    roles, contents = _messages(value, where)
    count = len(roles) - (roles[-1] == "assistant")
    if not count:
        raise SlatError(f"{where}: nothing stands before the assistant's message")
    return Chat(tuple(roles[:count]), tuple(contents[:count]), "")


def _chat(value: Any, where: str) -> Chat:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise SlatError(f"{where} is no chat but a text: {value[:40]!r}") from None
    roles, contents = _messages(value, where)
    if roles[-1] != "assistant":
        raise SlatError(f"{where}: the last message is of the {roles[-1]}, and the assistant's is the response")
    if len(roles) < 2:
        raise SlatError(f"{where}: nothing stands before the assistant's message")
    return Chat(tuple(roles[:-1]), tuple(contents[:-1]), contents[-1])


def _messages(value: Any, where: str) -> tuple[list[str], list[str]]:
    """Return the roles and the texts of a list of messages."""
    if not isinstance(value, list) or not value:
        raise SlatError(f"{where} is no chat: a list of messages with role and content")
    roles, contents = [], []
    for number, message in enumerate(value, 1):
        keys = _keys_of(message)
        if keys is None:
            raise SlatError(f"{where}: message {number} has no role and content")
        role, content = message[keys[0]], message[keys[1]]
        role = _SHAREGPT_ROLES.get(role, role) if isinstance(role, str) else role
        if role not in _ROLES:
            raise SlatError(f"{where}: message {number} is of the role {role!r}; roles are {', '.join(_ROLES)}")
        if not isinstance(content, str):
            raise SlatError(f"{where}: message {number} holds a {type(content).__name__} and no text")
        roles.append(role)
        contents.append(content)
    return roles, contents
