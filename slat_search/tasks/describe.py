"""Descriptions of tasks: the list of known names, and sizes, balance, lengths and examples of one task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from .. import config as cfg
from ..config.mistakes import as_one, sentences
from ..config.task import PRESETS, RESPONSE
from ..errors import SlatError
from . import bbc
from .examples import SPLITS, Example, TaskData
from .sources import load_task

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_STATISTICS = ("mean", "std", "min", "max")
_WIDTH = 110  # characters of a text
_NAME_WIDTH = 30  # characters of a label in a table
_MAX_COLUMNS = 8  # labels that are columns of the table; more of them are its rows


def catalogue() -> str:
    """Return the tasks that are known by name, one per line."""
    lines = ["embedded (no connection needed):", *(f"  {name:<14}{task.what}" for name, task in bbc.TASKS.items())]
    lines.append("presets of the Hugging Face hub, and of other packages:")
    for task in map(_preset, PRESETS):
        lines.append(f"  {task.name:<14}{_source(task)}: {' + '.join(task.text)}; {task.metric}")
    return "\n".join([*lines, "text of your own: task.train (files) or task.hub in the YAML"])


def known_tasks() -> list[dict[str, Any]]:
    """Return the tasks that are known by name, as JSON values."""
    embedded = [{"name": name, "source": "embedded", "what": task.what} for name, task in bbc.TASKS.items()]
    presets = [
        {"name": task.name, "source": task.hub or str(task.train), "subset": task.subset}
        | {"text": [*task.text], "metric": task.metric}
        for task in map(_preset, PRESETS)
    ]
    return [*embedded, *presets]


def _preset(name: str) -> cfg.Task:
    try:
        return cfg.Task.model_validate({"name": name})
    except ValidationError as error:  # the preset comes from another package
        raise SlatError(f"task {name}, a preset of another package: {as_one(sentences(error))}") from error


def _source(task: cfg.Task) -> str:
    """Return where the text of a preset comes from."""
    return " ".join(filter(None, (task.hub or str(task.train), task.subset)))


def task_facts(task: cfg.Task, seed: int, examples: int = 3) -> dict[str, Any]:
    """Return the facts of :func:`description`, as JSON values.

    Raises:
        SlatError: see :func:`.load_task`.
    """
    data = load_task(task, seed)
    splits = {}
    for split in SPLITS:
        words = [_word_count(example) for example in data.splits[split]]
        balance = dict(zip(data.labels or _STATISTICS, _label_statistics(data, split), strict=True))
        quantiles = dict(zip(map(str, _QUANTILES), np.quantile(words, _QUANTILES).tolist(), strict=True))
        splits[split] = {"rows": len(words), "labels": balance, "words": quantiles}
    rows = [
        {"texts": [*e.texts], "label": data.labels[int(e.label)] if data.labels else e.response or e.label}
        for e in data.splits["train"][:examples]
    ]
    return {
        "name": data.name,
        "labels": [*data.labels],
        "metric": data.metric,
        "notes": [*data.notes],
        "splits": splits,
        "examples": rows,
    }


def description(task: cfg.Task, seed: int, examples: int = 3) -> str:
    """Return sizes, label balance, lengths in words and a few training rows as text.

    Raises:
        SlatError: see :func:`.load_task`.
    """
    data = load_task(task, seed)
    is_generated = data.metric in RESPONSE
    target = f"{len(data.labels)} classes" if data.labels else "a response, in words" if is_generated else "a number"
    metric = f"{data.metric} of {data.labels[1]!r}" if data.metric == "f1" else data.metric
    parts = [f"{data.name}: {target}; {metric}", *data.notes, "", _balance_table(data), "", _length_table(data)]
    for example in data.splits["train"][:examples]:
        label = data.labels[int(example.label)] if data.labels else _one_line(example.response) or f"{example.label:g}"
        parts += ["", f"[{label}]", *(_one_line(text) for text in example.texts)]
    return "\n".join(parts)


def _balance_table(data: TaskData) -> str:
    """Return a table of each split: its number of rows, and the share of each label or the statistics of numbers."""
    names = data.labels or _STATISTICS
    columns = [_statistic_cells(data, split) for split in SPLITS]
    cells = [[f"{len(data.splits[split]):,}", *column] for split, column in zip(SPLITS, columns, strict=True)]
    headings = ["rows", *map(_short_name, names)]
    if len(names) <= _MAX_COLUMNS:
        return _table(SPLITS, headings, cells)
    return _table(headings, SPLITS, list(zip(*cells, strict=True)))


def _statistic_cells(data: TaskData, split: str) -> list[str]:
    return [f"{value:.1%}" if data.labels else f"{value:.3g}" for value in _label_statistics(data, split)]


def _label_statistics(data: TaskData, split: str) -> list[float]:
    """Return the share of each label; for numbers, and for the words of responses, their statistics."""
    labels = [e.label if not e.response else len(e.response.split()) for e in data.splits[split]]
    if data.labels:
        counts = Counter(labels)
        return [counts[i] / len(labels) for i in range(len(data.labels))]
    values = np.array(labels)
    return [float(value) for value in (values.mean(), values.std(), values.min(), values.max())]


def _short_name(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= _NAME_WIDTH else line[: _NAME_WIDTH - 3] + "..."


def _table(row_names: Sequence[str], headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    name_width = max(12, *(len(name) + 2 for name in row_names))
    width = max(8, *(len(heading) for heading in headings)) + 2
    lines = [f"{'':<{name_width}}" + "".join(f"{heading:>{width}}" for heading in headings)]
    lines += [
        f"{name:<{name_width}}" + "".join(f"{cell:>{width}}" for cell in row)
        for name, row in zip(row_names, cells, strict=True)
    ]
    return "\n".join(lines)


def _length_table(data: TaskData) -> str:
    """Return a table of the quantiles of the words of a row, both texts of a pair together."""
    headings = ["longest" if q == 1 else f"{q:.0%}" for q in _QUANTILES]
    lines = [f"{'words':<12}" + "".join(f"{heading:>9}" for heading in headings)]
    for split in SPLITS:
        words = [_word_count(example) for example in data.splits[split]]
        lines.append(f"{split:<12}" + "".join(f"{value:>9.0f}" for value in np.quantile(words, _QUANTILES)))
    return "\n".join(lines)


def _word_count(example: Example) -> int:
    return sum(len(text.split()) for text in example.texts)


def _one_line(text: str, width: int = _WIDTH) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 4]} ..."
