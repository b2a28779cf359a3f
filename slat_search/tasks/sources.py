"""Load the labeled text of a task: embedded, from local files, or from the hub."""

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
    """Read the text, remove duplicates, and cut missing splits (stratified by label, reproducible by ``seed``).

    Raises:
        SlatError: unknown task, missing file or column, empty text, a label that is not among the names, or a split
            without examples or with one label only.
    """
    notes: list[str] = []
    labels: tuple[str, ...]
    if task.train is None and task.hub is None:
        if task.name not in EMBEDDED:
            raise SlatError(_unknown_task(task.name))
        labels, splits = bbc.load(task.name, task.split, seed)
        has_order = True
    else:
        tables = tables_of_files(task) if task.train is not None else tables_of_hub(task)
        labels, examples, label_notes = _labeled_examples(tables, task)
        has_order = task.label_names is not None or any(t.names for t in tables.values())
        clean, leak_notes = without_leaks(examples)
        if "train" not in examples:  # a hub dataset hides the labels of a split by -1
            raise SlatError(f"task {task.name}: no row of train has a label")
        if examples["train"] and not clean.get("train"):
            raise SlatError(f"task {task.name}: no row of train is left: {'; '.join(leak_notes)}")
        splits = cut(clean, task.split, seed)
        notes = [*(note for t in tables.values() for note in t.notes), *label_notes, *leak_notes]
    labels, splits, label_notes = positive_last(task, labels, splits, has_order)
    _check_cap(task, labels, splits)
    splits = capped(splits, task.max_rows, seed)
    _check_splits(task, labels, splits)
    return TaskData(task.name, labels, splits, task.metric, task.max_length, (*notes, *label_notes))


def _response_examples(table: Table) -> list[Example]:
    """Return rows with their responses as examples."""
    roles = table.roles or [()] * len(table.rows)
    return [
        Example(texts, 0, str(response), row_roles)
        for (texts, response), row_roles in zip(table.rows, roles, strict=True)
    ]


def _check_cap(task: cfg.Task, labels: tuple[str, ...], splits: Splits) -> None:
    num_labels = len({e.label for e in splits["train"]})
    if labels and task.max_rows is not None and task.max_rows < num_labels <= len(splits["train"]):
        raise SlatError(f"task.max_rows: {task.max_rows} rows cannot hold the {num_labels} labels of {task.name}")


def _check_splits(task: cfg.Task, labels: tuple[str, ...], splits: Splits) -> None:
    sizes = ", ".join(f"{len(splits.get(name, [])):,} of {name}" for name in SPLITS)
    for name in SPLITS:
        if not splits.get(name):
            raise SlatError(
                f"task {task.name}: the {name} split is empty ({sizes}, {len(labels) or 'no'} labels): more rows of "
                "each label or a file of it are needed"
            )
        if not task.is_generated and len({e.label for e in splits[name]}) < 2:
            label_name = repr(labels[int(splits[name][0].label)] if labels else splits[name][0].label)
            raise SlatError(f"task {task.name}: the {name} split has one label only, {label_name} ({sizes})")
    unseen = {e.label for name in SPLITS for e in splits[name]} - {e.label for e in splits["train"]}
    if labels and unseen:
        name = next(s for s in SPLITS if any(e.label in unseen for e in splits[s]))
        names = ", ".join(repr(labels[int(i)]) for i in sorted(unseen))
        raise SlatError(f"task {task.name}: {name} has labels that training text has not: {names}")


def _unknown_task(name: str) -> str:
    hint = did_you_mean(name, [*EMBEDDED, *PRESETS])
    return (
        f"task.name: unknown task {name!r}{hint} (embedded tasks are {', '.join(EMBEDDED)}; presets of the hub "
        f"{', '.join(PRESETS)}; for text of your own set task.train or task.hub)"
    )


def _labeled_examples(tables: Mapping[str, Table], task: cfg.Task) -> tuple[tuple[str, ...], Splits, list[str]]:
    """Return label names, rows with the index of their label, and notes for the user on the labels."""
    if task.is_regression:
        return (), {s: [Example(texts, float(y)) for texts, y in t.rows] for s, t in tables.items()}, []
    if task.is_generated:
        return (), {split: _response_examples(table) for split, table in tables.items()}, []
    values = {str(label) for t in tables.values() for _, label in t.rows}
    indices, names, notes = index_labels(values, next((t.names for t in tables.values() if t.names), None), task)
    examples = {
        split: [
            Example(texts, check_known(str(label), indices, names, f"{t.field}: {t.where} row {number}"))
            for number, (texts, label) in enumerate(t.rows, 1)
        ]
        for split, t in tables.items()
    }
    return tuple(names), examples, notes
