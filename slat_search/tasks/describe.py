"""What a task is, in words: the list of known names, and sizes, balance, lengths and examples of one of them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from .. import config as cfg
from ..config.task import PRESETS
from . import bbc
from .examples import SPLITS, Example, TaskData
from .sources import load_task

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_WIDTH = 110
_NAME = 40  # of a label that has a line of its own
_LABELS = 30  # that are shown, where there are many


def catalogue() -> str:
    """The tasks that are known by name, one a line."""
    lines = ["embedded (no connection needed):", *(f"  {name:<14}{task.what}" for name, task in bbc.TASKS.items())]
    lines.append("presets of the Hugging Face hub:")
    for name, fields in PRESETS.items():
        text = " + ".join(fields["text"])
        lines.append(f"  {name:<14}{fields['hub']} {fields['subset']}: {text}; {fields['metric']}")
    return "\n".join([*lines, "text of your own: task.train (files) or task.hub in the YAML"])


def description(task: cfg.Task, seed: int, examples: int = 3) -> str:
    """Sizes, label balance, lengths in words and a few training rows.

    Raises:
        SlatError: see :func:`.load_task`.
    """
    data = load_task(task, seed)
    what = f"{len(data.labels)} classes" if data.labels else "a number"
    parts = [f"{data.name}: {what}; {data.metric}", "", _balance(data), "", _lengths(data)]
    for example in data.splits["train"][:examples]:
        label = data.labels[int(example.label)] if data.labels else f"{example.label:g}"
        parts += ["", f"[{label}]", *(_shown(text) for text in example.texts)]
    return "\n".join(parts)


def _balance(data: TaskData) -> str:
    """Rows of each split: how many, and the share of each label or the spread of the numbers."""
    names = data.labels or ("mean", "std", "min", "max")
    if sum(max(8, len(name)) + 2 for name in names) > _WIDTH:
        return _balance_by_label(data)
    width = max(8, *(len(name) for name in names)) + 2
    lines = [f"{'':<12}{'rows':>8}" + "".join(f"{name:>{width}}" for name in names)]
    for split in SPLITS:
        labels = [example.label for example in data.splits[split]]
        if data.labels:
            count = Counter(labels)
            cells = [f"{count[i] / len(labels):.1%}" for i in range(len(names))]
        else:
            values = np.array(labels)
            cells = [f"{value:.3g}" for value in (values.mean(), values.std(), values.min(), values.max())]
        lines.append(f"{split:<12}{len(labels):>8,}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)


def _balance_by_label(data: TaskData) -> str:
    """The same of many labels: a line each, the commonest first, and how many more there are."""
    counts = {split: Counter(int(example.label) for example in data.splits[split]) for split in SPLITS}
    order = sorted(range(len(data.labels)), key=lambda i: (-counts["train"][i], i))
    shown = order[:_LABELS]
    width = max(len(_shown(data.labels[i], _NAME)) for i in shown) + 2
    lines = [f"{'':<{width}}" + "".join(f"{split:>12}" for split in SPLITS)]
    lines.append(f"{'rows':<{width}}" + "".join(f"{len(data.splits[split]):>12,}" for split in SPLITS))
    for i in shown:
        cells = (f"{counts[split][i] / len(data.splits[split]):.1%}" for split in SPLITS)
        lines.append(f"{_shown(data.labels[i], _NAME):<{width}}" + "".join(f"{cell:>12}" for cell in cells))
    if len(order) > len(shown):
        lines.append(f"and {len(order) - len(shown)} labels more")
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
