"""Labelled text from a task description: embedded, files of one's own, or the hub."""

from __future__ import annotations

from collections.abc import Mapping

from .. import config as cfg
from ..config.task import EMBEDDED, PRESETS
from ..errors import SlatError, did_you_mean
from . import bbc
from .duplicates import without_leaks
from .examples import (
    SPLITS,
    Example,
    Splits,
    TaskData,
    capped,
    cut,
)
from .files import Table, tables_of_files
from .hub import tables_of_hub
from .labels import check_known, index_labels, positive_last


def load_task(task: cfg.Task, seed: int) -> TaskData:
    """Read, remove duplicates, and cut missing splits (stratified by label, reproducible by ``seed``).

    Raises:
        SlatError: unknown task, missing file or column, empty text, a label that is not among the names, or a split
            without examples or with one label only.
    """
    notes: list[str] = []
    labels: tuple[str, ...]
    if task.train is None and task.hub is None:
        if task.name not in EMBEDDED:
            raise SlatError(_unknown(task.name))
        labels, splits = bbc.load(task.name, task.split, seed)
        ordered = True
    else:
        tables = tables_of_files(task) if task.train is not None else tables_of_hub(task)
        labels, examples, sentences = _labelled(tables, task)
        ordered = task.label_names is not None or any(t.names for t in tables.values())
        whole, dropped = without_leaks(examples)
        if examples["train"] and not whole.get("train"):
            raise SlatError(f"task {task.name}: no row of train is left: {'; '.join(dropped)}")
        splits = cut(whole, task.split, seed)
        notes = [*(note for t in tables.values() for note in t.notes), *sentences, *dropped]
    labels, splits, sentences = positive_last(task, labels, splits, ordered)
    _check_cap(task, labels, splits)
    splits = capped(splits, task.max_rows, seed)
    _check(task, labels, splits)
    return TaskData(task.name, labels, splits, task.metric, task.max_length, (*notes, *sentences))


def _answered(table: Table) -> list[Example]:
    """Rows with their responses."""
    roles = table.roles or [()] * len(table.rows)
    return [Example(texts, 0, str(response), of) for (texts, response), of in zip(table.rows, roles, strict=True)]


def _check_cap(task: cfg.Task, labels: tuple[str, ...], splits: Splits) -> None:
    there = len({e.label for e in splits["train"]})
    if labels and task.max_rows is not None and task.max_rows < there <= len(splits["train"]):
        raise SlatError(f"task.max_rows: {task.max_rows} rows cannot hold the {there} labels of {task.name}")


def _check(task: cfg.Task, labels: tuple[str, ...], splits: Splits) -> None:
    sizes = ", ".join(f"{len(splits.get(name, [])):,} of {name}" for name in SPLITS)
    for name in SPLITS:
        if not splits.get(name):
            raise SlatError(
                f"task {task.name}: the {name} split is empty ({sizes}, {len(labels) or 'no'} labels): more rows of "
                "each label or a file of it are needed"
            )
        if not task.is_generated and len({e.label for e in splits[name]}) < 2:
            only = repr(labels[int(splits[name][0].label)] if labels else splits[name][0].label)
            raise SlatError(f"task {task.name}: the {name} split has one label only, {only} ({sizes})")
    missing = {e.label for name in SPLITS for e in splits[name]} - {e.label for e in splits["train"]}
    if labels and missing:
        name = next(s for s in SPLITS if any(e.label in missing for e in splits[s]))
        names = ", ".join(repr(labels[int(i)]) for i in sorted(missing))
        raise SlatError(f"task {task.name}: {name} has labels that training text has not: {names}")


def _unknown(name: str) -> str:
    hint = did_you_mean(name, [*EMBEDDED, *PRESETS])
    return (
        f"task.name: unknown task {name!r}{hint} (embedded tasks are {', '.join(EMBEDDED)}; presets of the hub "
        f"{', '.join(PRESETS)}; for text of your own set task.train or task.hub)"
    )


def _labelled(tables: Mapping[str, Table], task: cfg.Task) -> tuple[tuple[str, ...], Splits, list[str]]:
    """Label names, the rows with the index of their label, and what to say about the labels."""
    if task.is_regression:
        return (), {s: [Example(texts, float(y)) for texts, y in t.rows] for s, t in tables.items()}, []
    if task.is_generated:
        return (), {split: _answered(table) for split, table in tables.items()}, []
    values = {str(label) for t in tables.values() for _, label in t.rows}
    places, names, notes = index_labels(values, next((t.names for t in tables.values() if t.names), None), task)
    examples = {
        split: [
            Example(texts, check_known(str(label), places, names, f"{t.field}: {t.where} row {number}"))
            for number, (texts, label) in enumerate(t.rows, 1)
        ]
        for split, t in tables.items()
    }
    return tuple(names), examples, notes
