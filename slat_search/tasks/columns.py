"""Inference of the text columns and the label column of a file from names and values."""

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

#: names of label columns, the likeliest first
_LABEL_NAMES = (
    *("label", "labels", "target", "class", "category", "gold_label", "sentiment", "topic", "intent", "emotion"),
    *("score", "similarity", "rating", "stars", "grade", "price", "y"),
)
_TEXT_NAMES = (
    *("text", "sentence", "content", "review", "comment", "message", "utterance", "tweet", "body", "document"),
    *("description", "title", "headline", "question"),
)
_PAIR_NAMES = (
    *(("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence")),
    *(("question", "passage"), ("question", "answer"), ("text1", "text2"), ("text_a", "text_b"), ("query", "document")),
)
_MIN_WORDS = 1.5  # mean words of a column of texts; labels have fewer
_MAX_CLASSES = 20  # distinct whole numbers; more are a scale
_MIN_SHARE = 0.2  # share of the rarer of two labels, below which accuracy hides how well it is predicted
_MIN_BALANCE = 0.25  # rows of the rarest of several labels per row of the most frequent one


@dataclass(frozen=True)
class Columns:
    """Inferred columns of a file of texts.

    Attributes:
        text: column of texts, or two of them for pairs.
        label: column of labels.
        others: further columns that look like texts.
        metric: metric that fits the labels.
        positive: positive class of ``f1``; None with another metric.
        counts: rows of each label, the most frequent first; empty where the label is a number to learn.
        words: 95th percentile of the words of a row, both texts of a pair together.
        rows: number of rows of the file.
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
    """Infer text and label columns from their names, or else from their values.

    Args:
        text, label: columns that need not be inferred.

    Raises:
        SlatError: a column of ``text`` or ``label`` is missing, or no column looks like texts or like labels.
    """
    for option, column in (*(("--text", column) for column in text), ("--label", label)):
        if column is not None and column not in rows.columns:
            raise SlatError(f"{option}: {rows.where} has no column {column!r}; it has {columns_of(rows)}")
    values = {name: [value for value in rows.values(name) if not _is_missing(value)] for name in rows.columns}
    texts = [name for name in values if name != label and _is_text(values[name])]
    label = label or _label_column(values, rows, [*text] or texts)
    texts = [name for name in texts if name != label]
    text_columns = tuple(text) or _text_columns(texts, values, rows)
    if not values[label]:
        raise SlatError(f"--label: column {label!r} of {rows.where} holds no value")
    counts = Counter(map(_label_text, values[label]))
    is_number = label not in rows.names and _is_scale(values[label])
    metric, positive = ("pearson", None) if is_number else _metric(counts)
    words = np.sum([column_lengths(rows.values(name)) for name in text_columns], axis=0)
    return Columns(
        text=text_columns,
        label=label,
        others=tuple(name for name in texts if name not in text_columns),
        metric=metric,
        positive=positive,
        counts={} if is_number else dict(counts.most_common()),
        words=int(np.quantile(words, 0.95)),
        rows=len(rows),
    )


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _label_text(value: Any) -> str:
    """Return a label as text; 1.0 becomes 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def has_many_texts(rows: Rows, name: str) -> bool:
    """Return whether a column has too many distinct texts for labels."""
    values = [value for value in rows.values(name) if not _is_missing(value)]
    return all(isinstance(value, str) for value in values) and len(set(values)) > max(_MAX_CLASSES, len(values) / 5)


def column_lengths(values: Sequence[Any]) -> list[int]:
    """Return the number of words of each text of a column; 0 where it is missing."""
    return [0 if _is_missing(value) else len(str(value).split()) for value in values]


def _numbers(values: Sequence[Any]) -> list[float] | None:
    try:
        numbers = [float(value) for value in values if not isinstance(value, bool)]
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if numbers and np.isfinite(numbers).all() else None


def _is_text(values: Sequence[Any]) -> bool:
    return (
        bool(values)
        and all(isinstance(value, str) for value in values)
        and _numbers(values) is None
        and float(np.mean(column_lengths(values))) >= _MIN_WORDS
        and len(set(values)) > min(len(values) / 2, _MAX_CLASSES)
    )


def _is_scale(values: Sequence[Any]) -> bool:
    """Return whether labels are numbers to learn rather than classes: fractions, or too many distinct values."""
    numbers = _numbers(values)
    if numbers is None:
        return False
    return any(number != int(number) for number in numbers) or len(set(numbers)) > _MAX_CLASSES


def _label_column(values: Mapping[str, Sequence[Any]], rows: Rows, texts: Sequence[str]) -> str:
    """Return the column with the name of a label; else the last one of few values; else the last one of numbers."""
    candidates = {
        name: column
        for name, column in values.items()
        if name not in texts and all(isinstance(value, str | int | float) for value in column) and len(set(column)) > 1
    }
    original_names = {name.lower(): name for name in candidates}
    matches = [original_names[name] for name in _LABEL_NAMES if name in original_names]
    classes = [
        name
        for name, column in candidates.items()
        if len(set(column)) <= max(2, len(column) / 5) and not _is_scale(column)
    ]
    scales = [name for name, column in candidates.items() if _is_scale(column) and not _is_row_number(column)]
    if not (matches or classes or scales):
        raise SlatError(f"--label: no column of {rows.where} looks like labels; name one of {columns_of(rows)}")
    return matches[0] if matches else (classes or scales)[-1]


def _is_row_number(values: Sequence[Any]) -> bool:
    """Return whether values are row numbers."""
    numbers = _numbers(values) or []
    return all(after - before == 1 for before, after in pairwise(numbers))


def _text_columns(texts: Sequence[str], values: Mapping[str, Sequence[Any]], rows: Rows) -> tuple[str, ...]:
    """Return the two columns with the names of a pair; else the one with the name of a text; else the longest one."""
    original_names = {name.lower(): name for name in texts}
    for first, second in _PAIR_NAMES:
        if first in original_names and second in original_names:
            return original_names[first], original_names[second]
    if not texts:
        raise SlatError(f"--text: no column of {rows.where} looks like texts; name one of {columns_of(rows)}")
    matches = [original_names[name] for name in _TEXT_NAMES if name in original_names]
    return (matches[0] if matches else max(texts, key=lambda name: float(np.mean(column_lengths(values[name])))),)


def _metric(counts: Counter[str]) -> tuple[Metric, str | None]:
    """Return accuracy where labels are balanced, and else a metric that weighs rare labels more, with its positive
    class."""
    (rarest, min_count), max_count = min(counts.items(), key=lambda item: item[1]), max(counts.values())
    if len(counts) == 2 and min_count < _MIN_SHARE * counts.total():
        return "f1", rarest
    return ("macro_f1" if len(counts) > 2 and min_count < _MIN_BALANCE * max_count else "accuracy"), None
