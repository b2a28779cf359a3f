"""Labelled text from a task description: embedded, or files of one's own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import config as cfg
from ..errors import SlatError
from . import bbc

SPLITS = ("train", "validation", "test")
_READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Example:
    """One row: one text or two, and the index of its label."""

    texts: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class TaskData:
    """A task in memory, before tokenisation."""

    name: str
    labels: tuple[str, ...]
    splits: dict[str, list[Example]]
    metric: str
    max_length: int

    @property
    def majority_share(self) -> float:
        """Accuracy on test of always saying the most frequent training label."""
        train = [e.label for e in self.splits["train"]]
        top = max(set(train), key=train.count)
        test = self.splits["test"]
        return sum(e.label == top for e in test) / len(test)


def _bbc(text_of: Callable[[bbc.Article], str]) -> tuple[tuple[str, ...], list[Example]]:
    return bbc.TOPICS, [Example((text_of(a),), a.topic) for a in bbc.articles()]


EMBEDDED: dict[str, tuple[str, Callable[[], tuple[tuple[str, ...], list[Example]]]]] = {
    "bbc-headline": ("headline -> topic, 5 classes", lambda: _bbc(lambda a: a.headline)),
    "bbc-topic": ("whole article -> topic, 5 classes", lambda: _bbc(lambda a: f"{a.headline}. {a.body}")),
}


def load_task(task: cfg.Task, seed: int) -> TaskData:
    """Read, remove duplicates, and cut missing splits (stratified by label, reproducible by ``seed``).

    Raises:
        SlatError: unknown task, missing file or column, empty text, or a split without examples.
    """
    if task.train is not None:
        labels, given = _from_files(task)
    elif task.name in EMBEDDED:
        labels, examples = EMBEDDED[task.name][1]()
        given = {"train": examples}
    else:
        raise SlatError(
            f"task.name: unknown task {task.name!r}; embedded tasks are {', '.join(EMBEDDED)}; "
            "for files of your own set task.train"
        )
    splits = _cut(_without_duplicates(given), task.split, seed)
    if task.max_rows:
        splits = {name: rows[: task.max_rows] for name, rows in splits.items()}
    for name in SPLITS:
        if not splits.get(name):
            raise SlatError(f"task {task.name}: the {name} split is empty")
    if len({e.label for e in splits["train"]}) < 2:
        raise SlatError(f"task {task.name}: training text has one label only")
    return TaskData(task.name, labels, splits, task.metric, task.max_length)


def _without_duplicates(given: dict[str, list[Example]]) -> dict[str, list[Example]]:
    """Drop repeated texts; test keeps its own first, so that nothing of it is seen in training."""
    seen: set[tuple[str, ...]] = set()
    kept: dict[str, list[Example]] = {}
    for name in ("test", "validation", "train"):
        for example in given.get(name, []):
            key = tuple(" ".join(t.lower().split()) for t in example.texts)
            if key not in seen:
                seen.add(key)
                kept.setdefault(name, []).append(example)
    return kept


def _cut(given: dict[str, list[Example]], shares: Sequence[float], seed: int) -> dict[str, list[Example]]:
    """Cut the missing splits from train, label by label."""
    missing = [i for i, name in enumerate(SPLITS) if i and name not in given]
    rng = random.Random(f"split-{seed}")
    by_label: dict[int, list[Example]] = {}
    for example in given.get("train", []):
        by_label.setdefault(example.label, []).append(example)
    splits: dict[str, list[Example]] = {name: list(given.get(name, [])) for name in SPLITS if name != "train"}
    splits["train"] = []
    total = shares[0] + sum(shares[i] for i in missing)
    for label in sorted(by_label):
        rows = by_label[label]
        rng.shuffle(rows)
        for i in missing:
            count = round(len(by_label[label]) * shares[i] / total)
            splits[SPLITS[i]] += rows[:count]
            rows = rows[count:]
        splits["train"] += rows
    for name in ("train", *(SPLITS[i] for i in missing)):
        rng.shuffle(splits[name])
    return splits


def _from_files(task: cfg.Task) -> tuple[tuple[str, ...], dict[str, list[Example]]]:
    assert task.train is not None
    paths: dict[str, Path] = {}
    if task.train.is_dir():
        for name in SPLITS:
            found = [p for p in sorted(task.train.glob(f"{name}.*")) if p.suffix in _READERS]
            if found:
                paths[name] = found[0]
        if "train" not in paths:
            raise SlatError(f"task.train: {task.train} holds no train file (.csv, .tsv, .jsonl or .parquet)")
    else:
        paths["train"] = task.train
    for name in ("validation", "test"):
        if (path := getattr(task, name)) is not None:
            paths[name] = path
    rows = {name: _read(name, path, task) for name, path in paths.items()}
    names = sorted({label for split in rows.values() for _, label in split}, key=lambda v: (str(type(v)), v))
    index = {label: i for i, label in enumerate(names)}
    given = {name: [Example(texts, index[label]) for texts, label in split] for name, split in rows.items()}
    return tuple(str(n) for n in names), given


def _read(split: str, path: Path, task: cfg.Task) -> list[tuple[tuple[str, ...], Any]]:
    import datasets

    if not path.is_file():
        raise SlatError(f"task.{split}: no such file: {path}")
    if path.suffix not in _READERS:
        raise SlatError(f"task.{split}: {path} must end in .csv, .tsv, .jsonl, .json or .parquet")
    options = {"sep": "\t"} if path.suffix == ".tsv" else {}
    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(_READERS[path.suffix], data_files=str(path), split="train", **options)
    except Exception as error:  # the readers raise many kinds; all mean that the file is malformed
        cause = error.__cause__ or error
        raise SlatError(f"task.{split}: cannot read {path}: {str(cause).splitlines()[0]}") from error
    for column in (*task.text, task.label):
        if column not in table.column_names:
            raise SlatError(f"task.{split}: {path} has no column {column!r}; it has {', '.join(table.column_names)}")
    rows = []
    for number, (label, *texts) in enumerate(zip(table[task.label], *(table[c] for c in task.text), strict=True), 1):
        if label is None or any(not isinstance(t, str) or not t.strip() for t in texts):
            raise SlatError(f"task.{split}: {path} row {number} has an empty text or label")
        rows.append((tuple(texts), label))
    return rows
