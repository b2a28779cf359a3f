"""Which columns of a file a causal language model reads, and which one it answers with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config.prompt import ALPACA, columns
from ..errors import SlatError
from .chats import is_message
from .columns import column_lengths, columns_in, has_many_texts
from .rows import Rows, columns_of

#: what prompts and their responses are called, the likeliest first
_NAMES = (
    *(("prompt", "response"), ("prompt", "completion"), ("instruction", "response")),
    *(("question", "answer"), ("query", "response"), ("query", "answer"), ("question", "response")),
    *(("input", "output"), ("source", "target"), ("document", "summary"), ("article", "highlights")),
)


@dataclass(frozen=True)
class PromptedColumns:
    """Inferred fields of a task for a causal language model.

    Attributes:
        fields: of the task: ``chat``; or ``prompt`` with ``response`` or ``label``.
        notes: comments on fields.
        words: that prompt and response of 19 of 20 rows have at most.
        is_chat: whether rows hold chats, for which the tokenizer needs a chat template.
    """

    fields: Mapping[str, Any]
    notes: Mapping[str, str]
    words: int
    is_chat: bool = False


def prompted_columns_in(
    rows: Rows, prompt: str | None = None, response: str | None = None, label: str | None = None
) -> PromptedColumns | None:
    """Tell prompts and responses by their names and values; None where the columns look like texts with labels.

    Args:
        prompt: a format string over columns that is known.
        response: column of responses that is known.
        label: column of labels that is known, whose names are the words that answer.

    Raises:
        SlatError: a known column is not there, or a prompt that is no format string.
    """
    for option, column in (("--response", response), ("--label", label)):
        if column is not None and column not in rows.columns:
            raise SlatError(f"{option}: {rows.where} has no column {column!r}; it has {columns_of(rows)}")
    if prompt is None and response is None:
        return None if label is not None else _chat(rows) or _alpaca(rows) or _named(rows)
    if prompt is None and response == "output" and (found := _alpaca(rows)):
        return found
    if prompt is None:
        known = {second: first for first, second in reversed(_NAMES) if first in rows.columns}
        if response not in known:
            raise SlatError("--response: needs --prompt, such as --prompt 'Question: {question}'")
        prompt = f"{{{known[response]}}}"
    try:
        named = columns(_templates(prompt))
    except ValueError as error:
        raise SlatError(f"--prompt: {error}") from error
    if prompt not in ALPACA and (missing := [name for name in named if name not in rows.columns]):
        raise SlatError(f"--prompt: {rows.where} has no column {missing[0]!r}; it has {columns_of(rows)}")
    return _responses(rows, prompt, response) if response else _label_words(rows, prompt, named, label)


def _chat(rows: Rows) -> PromptedColumns | None:
    """A column whose rows are lists of messages, or such lists as JSON."""
    for name in rows.columns:
        values = rows.values(name)
        if values and all(_is_chat(value) for value in values[:20]):
            words = [len(str(value).split()) for value in values]
            notes = {"chat": "the last message of each, the assistant's, is learned"}
            return PromptedColumns({"chat": name}, notes, _most(words), is_chat=True)
    return None


def _is_chat(value: Any) -> bool:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return isinstance(value, list) and bool(value) and all(is_message(message) for message in value)


def _alpaca(rows: Rows) -> PromptedColumns | None:
    return _responses(rows, "alpaca", "output") if {"instruction", "output"} <= {*rows.columns} else None


def _named(rows: Rows) -> PromptedColumns | None:
    """Columns with the names of prompts and responses, where responses are no labels."""
    for first, second in _NAMES:
        if first in rows.columns and second in rows.columns and has_many_texts(rows, second):
            return _responses(rows, f"{{{first}}}", second)
    return None


def _responses(rows: Rows, prompt: str, response: str) -> PromptedColumns:
    usual = prompt in ALPACA and response == "output"
    fields = {"prompt": prompt} if usual else {"prompt": prompt, "response": response}
    notes = {
        "prompt": f"of the columns {', '.join(columns(_templates(prompt)))}; {response} is the response"
        if prompt in ALPACA
        else "what the model reads, a format string over columns"
    }
    return PromptedColumns(fields, notes, _words(rows, prompt, response))


def _label_words(rows: Rows, prompt: str, named: Sequence[str], label: str | None) -> PromptedColumns:
    """The names of labels are the words that answer a prompt."""
    found = columns_in(rows, named[:2], label)
    if not found.counts:
        raise SlatError(f"--label: {found.label} of {rows.where} holds numbers, and a prompt is answered by words")
    words: dict[str, str] = {name: name for name in found.counts}
    fields = {"prompt": prompt, "label": found.label, "response": words, "metric": found.metric}
    if found.positive is not None:
        fields["positive"] = found.positive
    notes = {
        "prompt": "what the model reads, a format string over columns",
        "response": "words that answer for each label",
    }
    return PromptedColumns(fields, notes, _words(rows, prompt))


def _templates(prompt: str) -> tuple[str, ...]:
    return ALPACA[prompt][:1] if prompt in ALPACA else (prompt,)


def _words(rows: Rows, prompt: str, response: str | None = None) -> int:
    """Words of the prompt, filled, and the response that 19 of 20 rows have at most."""
    (template,) = _templates(prompt)
    read = [*columns([template]), *filter(None, [response])]
    names = [name for name in read if name in rows.columns]  # the input of Alpaca may be missing
    return len(template.split()) + _most(np.sum([column_lengths(rows.values(name)) for name in names], axis=0))


def _most(words: Sequence[int] | np.ndarray) -> int:
    return int(np.quantile(words, 0.95))
