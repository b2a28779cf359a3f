"""Labelled text from a task description: embedded, files of one's own, or the hub."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Any

from .. import config as cfg
from ..config.task import EMBEDDED, PRESETS, REGRESSION
from ..errors import SlatError
from . import bbc
from .examples import SPLITS, Example, Splits, TaskData, capped, cut, without_duplicates
from .files import Table, tables_of_files
from .hub import tables_of_hub


def load_task(task: cfg.Task, seed: int) -> TaskData:
    """Read, remove duplicates, and cut missing splits (stratified by label, reproducible by ``seed``).

    Raises:
        SlatError: unknown task, missing file or column, empty text, a label that is not among the names, or a split
            without examples or with one label only.
    """
    if task.train is None and task.hub is None:
        if task.name not in EMBEDDED:
            raise SlatError(_unknown(task.name))
        labels, splits = bbc.load(task.name, task.split, seed)
    else:
        labels, given = _labelled(tables_of_files(task) if task.train is not None else tables_of_hub(task), task)
        splits = cut(without_duplicates(given), task.split, seed)
    splits = capped(splits, task.max_rows, seed)
    _check(task, labels, splits)
    return TaskData(task.name, labels, splits, task.metric, task.max_length)


def _check(task: cfg.Task, labels: tuple[str, ...], splits: Splits) -> None:
    for name in SPLITS:
        if not splits.get(name):
            raise SlatError(f"task {task.name}: the {name} split is empty")
        if len({e.label for e in splits[name]}) < 2:
            raise SlatError(f"task {task.name}: the {name} split has one label only")
    missing = {e.label for name in SPLITS for e in splits[name]} - {e.label for e in splits["train"]}
    if labels and missing:
        name = next(s for s in SPLITS if any(e.label in missing for e in splits[s]))
        told = ", ".join(repr(labels[int(i)]) for i in sorted(missing))
        raise SlatError(f"task {task.name}: {name} has labels that training text has not: {told}")
    if task.metric == "f1" and len(labels) != 2:
        raise SlatError(f"task.metric: f1 is of two classes and {task.name} has {len(labels)}; use macro_f1")


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, [*EMBEDDED, *PRESETS], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return (
        f"task.name: unknown task {name!r}{hint} (embedded tasks are {', '.join(EMBEDDED)}; presets of the hub "
        f"{', '.join(PRESETS)}; for text of your own set task.train or task.hub)"
    )


def _labelled(tables: Mapping[str, Table], task: cfg.Task) -> tuple[tuple[str, ...], Splits]:
    """Label names, and the rows with the index of their label."""
    if task.is_regression:
        return (), {split: [Example(x, _number(t, n, y)) for n, (x, y) in _rows(t)] for split, t in tables.items()}
    values = {y for t in tables.values() for _, y in t.rows}
    names = task.label_names or next((t.names for t in tables.values() if t.names), None)
    if names is None:
        if any(isinstance(y, float) and y != int(y) for y in values):
            raise SlatError(
                f"task.label: {task.label!r} holds fractions; for numbers set task.metric to {' or '.join(REGRESSION)}"
            )
        ordered = sorted(values, key=lambda v: (str(type(v)), v))
        names, index = tuple(map(str, ordered)), {value: i for i, value in enumerate(ordered)}
    else:
        index = _index_of(names, values)
    given = {
        split: [Example(x, _label(t, n, y, index, names)) for n, (x, y) in _rows(t)] for split, t in tables.items()
    }
    return names, given


def _index_of(names: tuple[str, ...], values: Collection[Any]) -> dict[Any, int]:
    """What stands for each name: itself, or a number, which is the name's own or else its place."""
    if not all(isinstance(value, int | float) for value in values):
        return {name: i for i, name in enumerate(names)}
    if all(name.isdigit() for name in names):
        return {int(name): i for i, name in enumerate(names)}
    if {"True", "False"} <= set(names):
        return {name == "True": i for i, name in enumerate(names)}
    return {i: i for i in range(len(names))}


def _rows(source: Table) -> enumerate[tuple[tuple[str, ...], Any]]:
    return enumerate(source.rows, 1)


def _label(source: Table, number: int, label: Any, index: Mapping[Any, int], names: tuple[str, ...]) -> int:
    if label not in index:
        raise SlatError(
            f"{source.field}: {source.where} row {number} has the label {label!r}, which is not among the "
            f"{len(names)} names: {', '.join(names)}"
        )
    return index[label]


def _number(source: Table, number: int, label: Any) -> float:
    try:
        value = float(label)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise SlatError(f"{source.field}: {source.where} row {number} has the label {label!r}, which is no number")
    return value
