"""What a saved adapter says of itself, ``adapter.json``, as far as it is more than numbers of weights."""

from __future__ import annotations

from typing import Any

from pydantic import Field, FiniteFloat

from .base import Record
from .jobs import Measures, TrainingJob


class PromptFacts(Record):
    """How an adapter that answers in words reads a row.

    Attributes:
        prompt, messages: fields of the configuration.
        words: token ids of the words of each label.
        max_new_tokens: of a response; None where labels are predicted.
    """

    prompt: str | None
    messages: list[dict[str, Any]] | None
    words: list[list[int]]
    max_new_tokens: int | None


class Origin(Record):
    """Digests of what an adapter was trained from: frozen weights, tokenizer, and texts of each split."""

    weights: str
    tokenizer: str
    texts: dict[str, str]


class AdapterFacts(Record):
    """Fields of ``adapter.json`` beside its format and digests.

    Attributes:
        model: section of the configuration.
        labels: names in order; none in a regression.
        scale: mean and spread of the numbers of a regression.
        max_length: tokens of a text.
        columns: names of the text columns.
        prompt: of an adapter without a head.
        unit: the training.
        measures: on validation.
        made_from: None of an earlier version.
    """

    model: dict[str, Any]
    labels: list[str]
    scale: tuple[FiniteFloat, FiniteFloat]
    max_length: int = Field(ge=1)
    columns: list[str] = Field(min_length=1)
    prompt: PromptFacts | None = None
    unit: TrainingJob
    measures: Measures
    made_from: Origin | None = None
