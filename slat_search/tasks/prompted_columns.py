"""Inference of the prompt columns and the response column of a file for a causal language model."""

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

#: names of the columns of prompts and responses, the likeliest first
_PAIR_NAMES = (
    *(("prompt", "response"), ("prompt", "completion"), ("instruction", "response")),
    *(("question", "answer"), ("query", "response"), ("query", "answer"), ("question", "response")),
    *(("input", "output"), ("source", "target"), ("document", "summary"), ("article", "highlights")),
)


@dataclass(frozen=True)
class PromptedColumns:
    """Inferred fields of a task for a causal language model.

    Attributes:
        fields: fields of the task: ``chat``; or ``prompt`` with ``response`` or ``label``.
        notes: comments on fields.
        words: 95th percentile of the words of prompt and response together.
        is_chat: whether rows hold chats, for which the tokenizer needs a chat template.
    """

    fields: Mapping[str, Any]
    notes: Mapping[str, str]
    words: int
    is_chat: bool = False


def prompted_columns_in(
    rows: Rows, prompt: str | None = None, response: str | None = None, label: str | None = None
) -> PromptedColumns | None:
    """Infer prompts and responses from names and values; return None where the columns look like texts with labels.

    Args:
        prompt: format string over columns, if it need not be inferred.
        response: column of responses, if it need not be inferred.
        label: column of labels, if it need not be inferred; the label names are the words that answer.

    Raises:
        SlatError: ``response`` or ``label`` is no column, or ``prompt`` is no format string over columns.
    """
    for option, column in (("--response", response), ("--label", label)):
        if column is not None and column not in rows.columns:
            raise SlatError(f"{option}: {rows.where} has no column {column!r}; it has {columns_of(rows)}")
    if prompt is None and response is None:
        return None if label is not None else _chat_columns(rows) or _alpaca_columns(rows) or _columns_by_name(rows)
    if prompt is None and response == "output" and (alpaca := _alpaca_columns(rows)):
        return alpaca
    if prompt is None:
        prompt_columns = {second: first for first, second in reversed(_PAIR_NAMES) if first in rows.columns}
        if response not in prompt_columns:
            raise SlatError("--response: needs --prompt, such as --prompt 'Question: {question}'")
        prompt = f"{{{prompt_columns[response]}}}"
    try:
        prompt_names = columns(_templates(prompt))
    except ValueError as error:
        raise SlatError(f"--prompt: {error}") from error
    if prompt not in ALPACA and (missing_names := [name for name in prompt_names if name not in rows.columns]):
        raise SlatError(f"--prompt: {rows.where} has no column {missing_names[0]!r}; it has {columns_of(rows)}")
    return (
        _response_columns(rows, prompt, response)
        if response
        else _label_word_columns(rows, prompt, prompt_names, label)
    )


def _chat_columns(rows: Rows) -> PromptedColumns | None:
    """Return the column whose rows are lists of messages, or such lists as JSON; None where there is none."""
    for name in rows.columns:
        values = rows.values(name)
        if values and all(_is_chat(value) for value in values[:20]):
            words = [len(str(value).split()) for value in values]
            notes = {"chat": "the last message of each, the assistant's, is learned"}
            return PromptedColumns({"chat": name}, notes, _percentile(words), is_chat=True)
    return None


def _is_chat(value: Any) -> bool:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return isinstance(value, list) and bool(value) and all(is_message(message) for message in value)


def _alpaca_columns(rows: Rows) -> PromptedColumns | None:
    return _response_columns(rows, "alpaca", "output") if {"instruction", "output"} <= {*rows.columns} else None


def _columns_by_name(rows: Rows) -> PromptedColumns | None:
    """Return the columns with the names of prompts and responses, where responses are no labels."""
    for first, second in _PAIR_NAMES:
        if first in rows.columns and second in rows.columns and has_many_texts(rows, second):
            return _response_columns(rows, f"{{{first}}}", second)
    return None


def _response_columns(rows: Rows, prompt: str, response: str) -> PromptedColumns:
    is_default = prompt in ALPACA and response == "output"
    fields = {"prompt": prompt} if is_default else {"prompt": prompt, "response": response}
    notes = {
        "prompt": f"of the columns {', '.join(columns(_templates(prompt)))}; {response} is the response"
        if prompt in ALPACA
        else "what the model reads, a format string over columns"
    }
    return PromptedColumns(fields, notes, _word_percentile(rows, prompt, response))


def _label_word_columns(rows: Rows, prompt: str, text_columns: Sequence[str], label: str | None) -> PromptedColumns:
    """Return the columns of a prompt that is answered by the name of a label."""
    inference = columns_in(rows, text_columns[:2], label)
    if not inference.counts:
        raise SlatError(f"--label: {inference.label} of {rows.where} holds numbers, and a prompt is answered by words")
    label_words: dict[str, str] = {name: name for name in inference.counts}
    fields = {"prompt": prompt, "label": inference.label, "response": label_words, "metric": inference.metric}
    if inference.positive is not None:
        fields["positive"] = inference.positive
    notes = {
        "prompt": "what the model reads, a format string over columns",
        "response": "words that answer for each label",
    }
    return PromptedColumns(fields, notes, _word_percentile(rows, prompt))


def _templates(prompt: str) -> tuple[str, ...]:
    return ALPACA[prompt][:1] if prompt in ALPACA else (prompt,)


def _word_percentile(rows: Rows, prompt: str, response: str | None = None) -> int:
    """Return the 95th percentile of the words of a row: of the filled prompt and the response together."""
    (template,) = _templates(prompt)
    candidates = [*columns([template]), *filter(None, [response])]
    names = [name for name in candidates if name in rows.columns]  # the input column of Alpaca may be missing
    return len(template.split()) + _percentile(np.sum([column_lengths(rows.values(name)) for name in names], axis=0))


def _percentile(words: Sequence[int] | np.ndarray) -> int:
    return int(np.quantile(words, 0.95))
