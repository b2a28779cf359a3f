"""A task in words: the list of known names, and sizes, balance, lengths and examples of one of them."""

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
_MOMENTS = ("mean", "std", "min", "max")
_WIDTH = 110
_NAME_WIDTH = 30  # of a label in a table
_ACROSS = 8  # labels that stand side by side; more stand one below the other


def catalogue() -> str:
    """The tasks that are known by name, one a line."""
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
    except ValidationError as error:  # that of another package
        raise SlatError(f"task {name}, a preset of another package: {as_one(sentences(error))}") from error


def _source(task: cfg.Task) -> str:
    """Return where the text of a preset comes from."""
    return " ".join(filter(None, (task.hub or str(task.train), task.subset)))


def task_facts(task: cfg.Task, seed: int, examples: int = 3) -> dict[str, Any]:
    """Return what :func:`description` tells, as JSON values.

    Raises:
        SlatError: see :func:`.load_task`.
    """
    data = load_task(task, seed)
    splits = {}
    for split in SPLITS:
        words = [_words(example) for example in data.splits[split]]
        spread = dict(zip(data.labels or _MOMENTS, _measures(data, split), strict=True))
        quantiles = dict(zip(map(str, _QUANTILES), np.quantile(words, _QUANTILES).tolist(), strict=True))
        splits[split] = {"rows": len(words), "labels": spread, "words": quantiles}
    shown = [
        {"texts": [*e.texts], "label": data.labels[int(e.label)] if data.labels else e.response or e.label}
        for e in data.splits["train"][:examples]
    ]
    return {
        "name": data.name,
        "labels": [*data.labels],
        "metric": data.metric,
        "notes": [*data.notes],
        "splits": splits,
        "examples": shown,
    }


def description(task: cfg.Task, seed: int, examples: int = 3) -> str:
    """Sizes, label balance, lengths in words and a few training rows.

    Raises:
        SlatError: see :func:`.load_task`.
    """
    data = load_task(task, seed)
    generated = data.metric in RESPONSE
    what = f"{len(data.labels)} classes" if data.labels else "a response, in words" if generated else "a number"
    metric = f"{data.metric} of {data.labels[1]!r}" if data.metric == "f1" else data.metric
    parts = [f"{data.name}: {what}; {metric}", *data.notes, "", _balance(data), "", _lengths(data)]
    for example in data.splits["train"][:examples]:
        label = data.labels[int(example.label)] if data.labels else _shown(example.response) or f"{example.label:g}"
        parts += ["", f"[{label}]", *(_shown(text) for text in example.texts)]
    return "\n".join(parts)


def _balance(data: TaskData) -> str:
    """Rows of each split: how many, and the share of each label or the spread of the numbers."""
    names = data.labels or _MOMENTS
    columns = [_spread(data, split) for split in SPLITS]
    cells = [[f"{len(data.splits[split]):,}", *column] for split, column in zip(SPLITS, columns, strict=True)]
    heads = ["rows", *map(_short, names)]
    if len(names) <= _ACROSS:
        return _table(SPLITS, heads, cells)
    return _table(heads, SPLITS, list(zip(*cells, strict=True)))


def _spread(data: TaskData, split: str) -> list[str]:
    return [f"{value:.1%}" if data.labels else f"{value:.3g}" for value in _measures(data, split)]


def _measures(data: TaskData, split: str) -> list[float]:
    """Return the share of each label; of numbers, and of the words of responses, the moments."""
    labels = [e.label if not e.response else len(e.response.split()) for e in data.splits[split]]
    if data.labels:
        count = Counter(labels)
        return [count[i] / len(labels) for i in range(len(data.labels))]
    values = np.array(labels)
    return [float(value) for value in (values.mean(), values.std(), values.min(), values.max())]


def _short(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= _NAME_WIDTH else line[: _NAME_WIDTH - 3] + "..."


def _table(sides: Sequence[str], heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    side = max(12, *(len(name) + 2 for name in sides))
    width = max(8, *(len(name) for name in heads)) + 2
    lines = [f"{'':<{side}}" + "".join(f"{name:>{width}}" for name in heads)]
    lines += [
        f"{name:<{side}}" + "".join(f"{cell:>{width}}" for cell in row) for name, row in zip(sides, cells, strict=True)
    ]
    return "\n".join(lines)


def _lengths(data: TaskData) -> str:
    """Quantiles of the words of a row, both texts of a pair together."""
    heads = ["longest" if q == 1 else f"{q:.0%}" for q in _QUANTILES]
    lines = [f"{'words':<12}" + "".join(f"{head:>9}" for head in heads)]
    for split in SPLITS:
        words = [_words(example) for example in data.splits[split]]
        lines.append(f"{split:<12}" + "".join(f"{value:>9.0f}" for value in np.quantile(words, _QUANTILES)))
    return "\n".join(lines)


def _words(example: Example) -> int:
    return sum(len(text.split()) for text in example.texts)


def _shown(text: str, width: int = _WIDTH) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 4]} ..."
