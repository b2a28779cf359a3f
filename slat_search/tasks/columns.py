"""Which columns of a file are texts and which one is the label, as far as names and values tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..config.task import Metric
from ..errors import SlatError
from .rows import Rows, columns_of

#: what labels are called, the likeliest first
_LABELS = (
    *("label", "labels", "target", "class", "category", "gold_label", "sentiment", "topic", "intent", "emotion"),
    *("score", "similarity", "rating", "stars", "grade", "price", "y"),
)
_TEXTS = (
    *("text", "sentence", "content", "review", "comment", "message", "utterance", "tweet", "body", "document"),
    *("description", "title", "headline", "question"),
)
_PAIRS = (
    *(("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence")),
    *(("question", "passage"), ("question", "answer"), ("text1", "text2"), ("text_a", "text_b"), ("query", "document")),
)
_WORDS = 1.5  # mean of a column of texts; labels have fewer
_CLASSES = 20  # distinct whole numbers; more are a scale
_RARE = 0.2  # share of the rarer of two labels below which accuracy says little of it
_UNEVEN = 0.25  # rows of the rarest of several labels against those of the most frequent


@dataclass(frozen=True)
class Columns:
    """Inferred columns of a file of texts.

    Attributes:
        text: column of texts, or two of them for pairs.
        label: column of labels.
        others: further columns that look like texts.
        metric: that fits the labels.
        positive: label that ``f1`` is of; None with another metric.
        counts: rows of each label, the most frequent first; empty where the label is a number to learn.
        words: that 19 of 20 rows have at most, both texts of a pair together.
        rows: of the file.
    """

    text: tuple[str, ...]
    label: str
    others: tuple[str, ...]
    metric: Metric
    positive: str | None
    counts: Mapping[str, int]
    words: int
    rows: int


def columns_in(rows: Rows, text: Sequence[str] = (), label: str | None = None) -> Columns:
    """Tell text and label columns by their names, and else by their values.

    Args:
        text, label: columns that are known.

    Raises:
        SlatError: a known column is not there, or none looks like texts or like labels.
    """
    for option, column in (*(("--text", column) for column in text), ("--label", label)):
        if column is not None and column not in rows.columns:
            raise SlatError(f"{option}: {rows.where} has no column {column!r}; it has {columns_of(rows)}")
    values = {name: [value for value in rows.values(name) if not _is_missing(value)] for name in rows.columns}
    texts = [name for name in values if name != label and _is_text(values[name])]
    label = label or _label(values, rows, [*text] or texts)
    texts = [name for name in texts if name != label]
    chosen = tuple(text) or _text(texts, values, rows)
    counts = Counter(map(_written, values[label]))
    is_number = label not in rows.names and _is_scale(values[label])
    metric, positive = ("pearson", None) if is_number else _measure(counts)
    words = np.sum([column_lengths(rows.values(name)) for name in chosen], axis=0)
    return Columns(
        text=chosen,
        label=label,
        others=tuple(name for name in texts if name not in chosen),
        metric=metric,
        positive=positive,
        counts={} if is_number else dict(counts.most_common()),
        words=int(np.quantile(words, 0.95)),
        rows=len(rows),
    )


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _written(value: Any) -> str:
    """Return a label as text; 1.0 is 1."""
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value).strip()


def has_many_texts(rows: Rows, name: str) -> bool:
    """Whether the texts of a column are too many to be labels."""
    values = [value for value in rows.values(name) if not _is_missing(value)]
    return all(isinstance(value, str) for value in values) and len(set(values)) > max(_CLASSES, len(values) / 5)


def column_lengths(values: Sequence[Any]) -> list[int]:
    """Return the words of each text of a column; 0 where it is missing."""
    return [0 if _is_missing(value) else len(str(value).split()) for value in values]


def _numbers(values: Sequence[Any]) -> list[float] | None:
    try:
        return [float(value) for value in values if not isinstance(value, bool)] or None
    except (TypeError, ValueError):
        return None


def _is_text(values: Sequence[Any]) -> bool:
    return (
        bool(values)
        and all(isinstance(value, str) for value in values)
        and _numbers(values) is None
        and float(np.mean(column_lengths(values))) >= _WORDS
        and len(set(values)) > min(len(values) / 2, _CLASSES)
    )


def _is_scale(values: Sequence[Any]) -> bool:
    """Whether labels are numbers to learn, and no classes: with a fraction, or of more values than classes have."""
    numbers = _numbers(values)
    if numbers is None:
        return False
    return any(number != int(number) for number in numbers) or len(set(numbers)) > _CLASSES


def _label(values: Mapping[str, Sequence[Any]], rows: Rows, texts: Sequence[str]) -> str:
    """The column with a label's name; else the last one of few values; else the last one of numbers."""
    left = {
        name: column
        for name, column in values.items()
        if name not in texts and all(isinstance(value, str | int | float) for value in column) and len(set(column)) > 1
    }
    named = {name.lower(): name for name in left}
    by_name = [named[name] for name in _LABELS if name in named]
    few = [
        name for name, column in left.items() if len(set(column)) <= max(2, len(column) / 5) and not _is_scale(column)
    ]
    scales = [name for name, column in left.items() if _is_scale(column) and not _counts_up(column)]
    if not (by_name or few or scales):
        raise SlatError(f"--label: no column of {rows.where} looks like labels; name one of {columns_of(rows)}")
    return by_name[0] if by_name else (few or scales)[-1]


def _counts_up(values: Sequence[Any]) -> bool:
    """Whether values are row numbers."""
    numbers = _numbers(values) or []
    return all(after - before == 1 for before, after in pairwise(numbers))


def _text(texts: Sequence[str], values: Mapping[str, Sequence[Any]], rows: Rows) -> tuple[str, ...]:
    named = {name.lower(): name for name in texts}
    for first, second in _PAIRS:
        if first in named and second in named:
            return named[first], named[second]
    if not texts:
        raise SlatError(f"--text: no column of {rows.where} looks like texts; name one of {columns_of(rows)}")
    known = [named[name] for name in _TEXTS if name in named]
    return (known[0] if known else max(texts, key=lambda name: float(np.mean(column_lengths(values[name])))),)


def _measure(counts: Counter[str]) -> tuple[Metric, str | None]:
    """Return accuracy where labels are about as frequent as each other, and else a metric that sees the rare ones."""
    (rarest, least), most = min(counts.items(), key=lambda item: item[1]), max(counts.values())
    if len(counts) == 2 and least < _RARE * counts.total():
        return "f1", rarest
    return ("macro_f1" if len(counts) > 2 and least < _UNEVEN * most else "accuracy"), None
