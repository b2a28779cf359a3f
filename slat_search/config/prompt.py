"""Prompts of a causal language model, and the responses that it should give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, Literal

from pydantic import Field

from .section import Section

Role = Literal["system", "user", "assistant"]


class Message(Section):
    """One message of a chat, which the tokenizer's chat template puts into its own form."""

    role: Role = Field("user", description="who speaks")
    content: str = Field(..., description="format string over columns, e.g. `Review: {sentence}`")


#: name of a prompt, that of Stanford Alpaca (Taori et al. 2023) -> its template with an input, and without one
ALPACA = {
    "alpaca": (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}"
        "\n\n### Response:\n",
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Response:\n",
    )
}


def pieces(template: str) -> list[tuple[str, str | None]]:
    """Return a format string as pairs of a literal and the column that follows it (None at the end).

    Raises:
        ValueError: a field that is more than the name of a column, or an unmatched brace.
    """
    try:
        fields = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is no format string ({error}); write {{{{ and }}}} for braces") from None
    for _, column, format_spec, conversion in fields:
        if column is not None and (format_spec or conversion or not column or not set(".[]").isdisjoint(column)):
            raise ValueError(f"{{{column}}} in {template!r}: a field is the name of a column and no more")
    return [(literal, column) for literal, column, _, _ in fields]


def columns(templates: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that format strings name, in the order of their first occurrence.

    Raises:
        ValueError: they name no column, or are no format strings.
    """
    names = [column for template in templates for _, column in pieces(template) if column is not None]
    if not names:
        raise ValueError("prompt names no column; write one in braces, e.g. `Review: {sentence}`")
    return tuple(dict.fromkeys(names))


def check_words(words: Mapping[str, str]) -> None:
    """Check the words of labels.

    Raises:
        ValueError: an empty word, or two labels with the same words.
    """
    for label, word in words.items():
        if not word.strip():
            raise ValueError(f"response: the label {label!r} has no words")
        if duplicate := next((name for name in words if name != label and words[name].strip() == word.strip()), None):
            raise ValueError(f"response: the labels {label!r} and {duplicate!r} have the same words, {word!r}")


def as_text(raw: Any) -> Any:
    """Return the words of each label with the labels as text; anything but a mapping is returned unchanged.

    Raises:
        ValueError: an empty mapping, or a value that is not text.
    """
    if raw is not None and not isinstance(raw, str | Mapping):
        raise ValueError("response is the name of a column, or the words of each label")
    if not isinstance(raw, Mapping):
        return raw
    if not raw:
        raise ValueError("response has no label")
    for value in (*raw, *raw.values()):
        if isinstance(value, list | tuple | dict):
            raise ValueError(f"response: the words of a label are one text, not {value!r}")
        if isinstance(value, bool | float) or value is None:
            raise ValueError("YAML reads no, yes, null, 1.0 and dates as other than text; write labels in quotes")
    return {str(label).strip(): str(word) for label, word in raw.items()}
