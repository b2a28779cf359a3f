"""Labelled rows in memory, and how splits are made of them."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")
_STRATA = 10  # that numbers are parted into where a split is cut


@dataclass(frozen=True)
class Example:
    """One row: one text or two, and the index of its label, or a number in a regression."""

    texts: tuple[str, ...]
    label: int | float


Splits = dict[str, list[Example]]


@dataclass(frozen=True)
class TaskData:
    """A task in memory, before tokenisation.

    Attributes:
        labels: label names; none in a regression.
    """

    name: str
    labels: tuple[str, ...]
    splits: Splits
    metric: str
    max_length: int

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training labels of a regression; (0, 1) for classes."""
        if self.labels:
            return 0.0, 1.0
        train = [e.label for e in self.splits["train"]]
        return statistics.fmean(train), statistics.pstdev(train)


def normal(texts: Sequence[str]) -> tuple[str, ...]:
    """What makes two rows the same: their words, whatever the case and the space between."""
    return tuple(" ".join(t.lower().split()) for t in texts)


def without_duplicates(
    given: Mapping[str, Sequence[Example]], key: Callable[[Example], object] = lambda e: normal(e.texts)
) -> Splits:
    """Drop repeated texts; test keeps its own first, so that nothing of it is seen in training."""
    seen: set[object] = set()
    kept: Splits = {}
    for name in ("test", "validation", "train"):
        for example in given.get(name, []):
            if (known := key(example)) not in seen:
                seen.add(known)
                kept.setdefault(name, []).append(example)
    return kept


def cut(given: Mapping[str, Sequence[Example]], shares: Sequence[float], seed: int) -> Splits:
    """Cut the missing splits from train, label by label (in a regression tenth by tenth); the same for a seed."""
    missing = [i for i, name in enumerate(SPLITS) if i and name not in given]
    rng = random.Random(f"split-{seed}")
    splits: Splits = {name: list(given.get(name, [])) for name in SPLITS if name != "train"}
    splits["train"] = []
    total = shares[0] + sum(shares[i] for i in missing)
    for rows in _strata(given.get("train", [])):
        rng.shuffle(rows)
        left = rows
        for i in missing:
            count = round(len(rows) * shares[i] / total)
            splits[SPLITS[i]] += left[:count]
            left = left[count:]
        splits["train"] += left
    for name in ("train", *(SPLITS[i] for i in missing)):
        rng.shuffle(splits[name])
    return splits


def _strata(rows: Sequence[Example]) -> list[list[Example]]:
    if any(isinstance(e.label, float) for e in rows):
        ordered = sorted(rows, key=lambda e: e.label)
        size = max(1, -(-len(ordered) // _STRATA))
        return [ordered[i : i + size] for i in range(0, len(ordered), size)]
    by_label: dict[int | float, list[Example]] = {}
    for example in rows:
        by_label.setdefault(example.label, []).append(example)
    return [by_label[label] for label in sorted(by_label)]


def capped(splits: Mapping[str, list[Example]], rows: int | None, seed: int) -> Splits:
    """At most so many ``rows`` of each split, drawn by ``seed`` and left in their order: files are often sorted."""
    rng = random.Random(f"cap-{seed}")
    return {
        name: [part[i] for i in sorted(rng.sample(range(len(part)), rows))] if rows and len(part) > rows else part
        for name, part in splits.items()
    }
