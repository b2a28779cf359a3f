"""Labels: the text that names each, the order of the names, and which of two is the positive one.

A label is the same whatever type its source has: 1 in a JSON file, "1" in a CSV file and 1.0 in a Parquet file are one
class, and space around a label is none of it.
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
_WHOLE = re.compile(r"([+-]?\d+)(?:\.0*)?")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: pairs that have an order of their own, beside numbers
_NO_AND_YES = ({"no", "yes"}, {"false", "true"})
_SHOWN = 20


def label_of(value: Any, where: str, task: cfg.Task, names: Sequence[str] | None) -> Label:
    """The text of a label, or its number in a regression.

    Args:
        where: begins the messages.
        names: of labels that are places in them, as in a dataset that knows its label names.

    Raises:
        SlatError: a missing or invalid label.
    """
    if value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and value != value):
        raise SlatError(f"{where} has no label")
    if task.is_regression:
        return _number(value, where)
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "dictionary"
        raise SlatError(f"{where} has a {kind} as label, {str(value)[:40]}; a label is one text or one number")
    if names is not None and isinstance(value, int):
        if task.label_names is not None and set(task.label_names) != set(names):  # others for the same numbers
            names = task.label_names
        if not 0 <= value < len(names):
            raise SlatError(
                f"{where} has the label {value}, which is not among the {len(names)} names: {_listed(names)}"
            )
        return names[value]
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SlatError(f"{where} has a label of bytes that are not UTF-8") from error
    if isinstance(value, float):
        if math.isinf(value):
            raise SlatError(f"{where} has the label {value}, which is neither a class nor a number to learn")
        value = int(value) if value == int(value) else value
    return unicodedata.normalize("NFC", str(value).strip())


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SlatError(f"{where} has the label {value!r}, which is no number")
    return number


def index_labels(
    values: Collection[str], names: Sequence[str] | None, task: cfg.Task
) -> tuple[dict[str, int], list[str], list[str]]:
    """The place of each label, the names of the places, and what to say about them.

    A label that is not among the names gets no place.

    Args:
        values: all labels of the task.
        names: that the source knows.

    Raises:
        SlatError: labels that are fractions, or that may count from 0 as well as from 1.
    """
    whole = {value: match[1] for value in values if (match := _WHOLE.fullmatch(value))}
    same = whole if len(whole) == len(values) else {}  # 1.0 is 1, where all labels are such
    texts = {value: same.get(value, value) for value in values}
    ordered = task.label_names or names
    if ordered is None:
        _check_fractions(values, task)
        labels = _sorted(set(texts.values()))
        return {value: labels.index(text) for value, text in texts.items()}, labels, _near(labels)
    ordered = [unicodedata.normalize("NFC", name.strip()) for name in ordered]
    place = {name: i for i, name in enumerate(ordered)}
    if any(value in place or texts[value] in place for value in values) or not values:
        return {v: place.get(v, place.get(t, -1)) for v, t in texts.items() if v in place or t in place}, ordered, []
    by_truth = {value: value.casefold() == "true" for value in values if value.casefold() in ("true", "false")}
    if len(by_truth) == len(values) and len(ordered) == 2:
        return {value: int(truth) for value, truth in by_truth.items()}, ordered, []
    if all(_INTEGER.fullmatch(text) for text in texts.values()):
        first, notes = _first(sorted({int(text) for text in texts.values()}), ordered, task)
        places = {value: int(text) - first for value, text in texts.items()}
        return {value: i for value, i in places.items() if 0 <= i < len(ordered)}, ordered, notes
    return {}, ordered, []


def _first(numbers: Sequence[int], names: Sequence[str], task: cfg.Task) -> tuple[int, list[str]]:
    """The number of the first name: 0, or 1 where the last one's is there."""
    last = len(names)
    if numbers[0] != 1 or numbers[-1] > last:
        return 0, []
    if numbers[-1] == last:
        return 1, [f"labels {numbers[0]} to {last} count from 1: 1 is {names[0]}, {last} is {names[-1]}"]
    raise SlatError(
        f"task.label_names: whether the labels {_listed([str(n) for n in numbers])} count from 0 or from 1 cannot be "
        f"told, as neither 0 nor {last} is there for the {last} names; write the names themselves into {task.label!r}, "
        "or leave label_names out"
    )


def _check_fractions(values: Collection[str], task: cfg.Task) -> None:
    if all(_FLOAT.fullmatch(value) for value in values) and any(float(value) % 1 for value in values):
        raise SlatError(
            f"task.label: {task.label!r} holds fractions; for numbers set task.metric to {' or '.join(REGRESSION)}, "
            "for classes list them in task.label_names"
        )


def _sorted(texts: Collection[str]) -> list[str]:
    """Numbers by value, texts by letter."""
    numbers = all(_INTEGER.fullmatch(text) for text in texts)
    return sorted(texts, key=lambda text: (int(text) if numbers else 0, text))


def _near(names: Sequence[str]) -> list[str]:
    """Return the message on labels that differ in case alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(" ".join(name.casefold().split()), []).append(name)
    return [
        f"labels {' and '.join(map(repr, group))} differ in case or inner space alone, and are {len(group)} classes"
        for group in groups.values()
        if len(group) > 1
    ]


def check_known(label: str, places: Mapping[str, int], names: Sequence[str], where: str) -> int:
    """The place of a label.

    Raises:
        SlatError: it has none; the message begins with ``where``.
    """
    if label not in places:
        raise SlatError(f"{where} has the label {label!r}, which is not among the {len(names)} names: {_listed(names)}")
    return places[label]


def _listed(names: Sequence[str]) -> str:
    left = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {left} more" if left > 0 else "")


def positive_last(
    task: cfg.Task, names: tuple[str, ...], splits: Splits, ordered: bool
) -> tuple[tuple[str, ...], Splits, list[str]]:
    """Move the positive class of an F1 to second place, where its computation expects it.

    It is ``task.positive``; else the second name, where names have an order (``ordered``, numbers, no and yes, false
    and true); else the rarer label of the training text.

    Raises:
        SlatError: F1 of other than two classes, or a positive class that is none of them.
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
    elif ordered or all(map(_FLOAT.fullmatch, names)) or {name.casefold() for name in names} in _NO_AND_YES:
        positive = 1
    else:
        count = Counter(e.label for e in splits.get("train", []))
        positive = 1 if count[1] <= count[0] else 0
        notes = [f"f1 is that of {names[positive]!r}, the rarer label; task.positive names another"]
    if positive == 1:
        return names, splits, notes
    swapped = {name: [replace(e, label=1 - e.label) for e in rows] for name, rows in splits.items()}
    return (names[1], names[0]), swapped, notes
