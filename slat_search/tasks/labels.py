"""Labels of classes: their names, the order of the names, and the positive one of two.

A label is the same in every type of source: 1 in a JSON file, "1" in a CSV file and 1.0 in a Parquet file are one
class, and space around a label does not belong to it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import config as cfg
from ..config.task import REGRESSION
from ..errors import SlatError
from .examples import Splits

Label = str | float
_INTEGER = re.compile(r"[+-]?\d+")
_WHOLE_NUMBER = re.compile(r"([+-]?\d+)(?:\.0*)?")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: pairs of labels that have an order of their own, as numbers have
_NO_AND_YES = ({"no", "yes"}, {"false", "true"})
_MAX_NAMES = 20


def label_of(value: Any, row_name: str, task: cfg.Task, names: Sequence[str] | None) -> Label:
    """Return the text of a label, or its number in a regression.

    Args:
        row_name: name of the row, which error messages begin with.
        names: label names of a source whose labels are indices into them.

    Raises:
        SlatError: a missing or invalid label.
    """
    if value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and value != value):
        raise SlatError(f"{row_name} has no label")
    if task.is_regression:
        return _number(value, row_name)
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "dictionary"
        raise SlatError(f"{row_name} has a {kind} as label, {str(value)[:40]}; a label is one text or one number")
    if names is not None and isinstance(value, int):
        if task.label_names is not None and set(task.label_names) != set(names):  # the user renames the same indices
            names = task.label_names
        if not 0 <= value < len(names):
            raise SlatError(
                f"{row_name} has the label {value}, which is not among the {len(names)} names: {_name_list(names)}"
            )
        return names[value]
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SlatError(f"{row_name} has a label of bytes that are not UTF-8") from error
    if isinstance(value, float):
        if math.isinf(value):
            raise SlatError(f"{row_name} has the label {value}, which is neither a class nor a number to learn")
        value = int(value) if value == int(value) else value
    return unicodedata.normalize("NFC", str(value).strip())


def _number(value: Any, row_name: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SlatError(f"{row_name} has the label {value!r}, which is no number")
    return number


def index_labels(
    values: Collection[str], names: Sequence[str] | None, task: cfg.Task
) -> tuple[dict[str, int], list[str], list[str]]:
    """Return the index of each label, the label names in order, and notes for the user on them.

    A label that is not among the names gets no index.

    Args:
        values: all labels of the task.
        names: label names of the source; None where it has none.

    Raises:
        SlatError: labels that are fractions, or that may count from 0 as well as from 1.
    """
    integers = {value: match[1] for value in values if (match := _WHOLE_NUMBER.fullmatch(value))}
    canonical = integers if len(integers) == len(values) else {}  # 1.0 becomes 1 if all labels are whole numbers
    texts = {value: canonical.get(value, value) for value in values}
    label_names = task.label_names or names
    if label_names is None:
        _check_fractions(values, task)
        labels = _sort_labels(set(texts.values()))
        return {value: labels.index(text) for value, text in texts.items()}, labels, _case_notes(labels)
    label_names = [unicodedata.normalize("NFC", name.strip()) for name in label_names]
    index = {name: i for i, name in enumerate(label_names)}
    if any(value in index or texts[value] in index for value in values) or not values:
        indices = {v: index.get(v, index.get(t, -1)) for v, t in texts.items() if v in index or t in index}
        return indices, label_names, []
    by_truth = {value: value.casefold() == "true" for value in values if value.casefold() in ("true", "false")}
    if len(by_truth) == len(values) and len(label_names) == 2:
        return {value: int(truth) for value, truth in by_truth.items()}, label_names, []
    if all(_INTEGER.fullmatch(text) for text in texts.values()):
        offset, notes = _label_offset(sorted({int(text) for text in texts.values()}), label_names, task)
        indices = {value: int(text) - offset for value, text in texts.items()}
        return {value: i for value, i in indices.items() if 0 <= i < len(label_names)}, label_names, notes
    return {}, label_names, []


def _label_offset(numbers: Sequence[int], names: Sequence[str], task: cfg.Task) -> tuple[int, list[str]]:
    """Return the number of the first name, 0 or 1, and notes: it is 1 where the number of names occurs as a label."""
    count = len(names)
    if numbers[0] != 1 or numbers[-1] > count:
        return 0, []
    if numbers[-1] == count:
        return 1, [f"labels {numbers[0]} to {count} count from 1: 1 is {names[0]}, {count} is {names[-1]}"]
    raise SlatError(
        f"task.label_names: whether the labels {_name_list([str(n) for n in numbers])} count from 0 or from 1 cannot "
        f"be told, as neither 0 nor {count} is there for the {count} names; write the names themselves into "
        f"{task.label!r}, or leave label_names out"
    )


def _check_fractions(values: Collection[str], task: cfg.Task) -> None:
    if all(_FLOAT.fullmatch(value) for value in values) and any(float(value) % 1 for value in values):
        raise SlatError(
            f"task.label: {task.label!r} holds fractions; for numbers set task.metric to {' or '.join(REGRESSION)}, "
            "for classes list them in task.label_names"
        )


def _sort_labels(texts: Collection[str]) -> list[str]:
    """Sort numbers by value, and texts alphabetically."""
    are_numbers = all(_INTEGER.fullmatch(text) for text in texts)
    return sorted(texts, key=lambda text: (int(text) if are_numbers else 0, text))


def _case_notes(names: Sequence[str]) -> list[str]:
    """Return a note on each group of labels that differ only in case or inner space."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(" ".join(name.casefold().split()), []).append(name)
    return [
        f"labels {' and '.join(map(repr, group))} differ in case or inner space alone, and are {len(group)} classes"
        for group in groups.values()
        if len(group) > 1
    ]


def check_known(label: str, indices: Mapping[str, int], names: Sequence[str], row_name: str) -> int:
    """Return the index of a label.

    Raises:
        SlatError: the label has no index; the message begins with ``row_name``.
    """
    if label not in indices:
        raise SlatError(
            f"{row_name} has the label {label!r}, which is not among the {len(names)} names: {_name_list(names)}"
        )
    return indices[label]


def _name_list(names: Sequence[str]) -> str:
    remaining = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {remaining} more" if remaining > 0 else "")


def positive_last(
    task: cfg.Task, names: tuple[str, ...], splits: Splits, has_order: bool
) -> tuple[tuple[str, ...], Splits, list[str]]:
    """Move the positive class of an F1 to second place, where its computation expects it.

    It is ``task.positive``; else the second name, where names have an order (``has_order``, numbers, no and yes, false
    and true); else the rarer label of the training texts.

    Raises:
        SlatError: F1 with more or fewer than two classes, or a positive class that is none of them.
    """
    if task.metric != "f1":
        return names, splits, []
    if len(names) != 2:
        raise SlatError(f"task.metric: f1 is of two classes and {task.name} has {len(names)}; use macro_f1")
    notes = []
    if task.positive is not None:
        if task.positive not in names:
            raise SlatError(f"task.positive: {task.positive!r} is no label of {task.name}; it has {', '.join(names)}")
        positive = names.index(task.positive)
    elif has_order or all(map(_FLOAT.fullmatch, names)) or {name.casefold() for name in names} in _NO_AND_YES:
        positive = 1
    else:
        counts = Counter(e.label for e in splits.get("train", []))
        positive = 1 if counts[1] <= counts[0] else 0
        notes = [f"f1 is that of {names[positive]!r}, the rarer label; task.positive names another"]
    if positive == 1:
        return names, splits, notes
    swapped_splits = {name: [replace(e, label=1 - e.label) for e in rows] for name, rows in splits.items()}
    return (names[1], names[0]), swapped_splits, notes
