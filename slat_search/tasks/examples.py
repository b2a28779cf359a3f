"""Labeled rows in memory, and their splits."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..config.task import is_of_numbers

SPLITS = ("train", "validation", "test")
_STRATA = 10  # number of strata of the numbers of a regression


@dataclass(frozen=True)
class Example:
    """One row: its texts, and the index of its label, or a number in a regression.

    Attributes:
        response: text that a causal language model should write, where that is no label; ``label`` is 0 then.
        roles: role of each text, where the row is a chat.
    """

    texts: tuple[str, ...]
    label: int | float
    response: str = ""
    roles: tuple[str, ...] = ()


Splits = dict[str, list[Example]]


@dataclass(frozen=True)
class TaskData:
    """A task in memory, before tokenization.

    Attributes:
        labels: label names; none in a regression. With the metric ``f1`` the second one is the positive class.
        notes: sentences for the user on how the splits were made.
    """

    name: str
    labels: tuple[str, ...]
    splits: Splits
    metric: str
    max_length: int
    notes: tuple[str, ...] = ()

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training labels of a regression; (0, 1) for classes."""
        if not is_of_numbers(self.metric):
            return 0.0, 1.0
        labels = [e.label for e in self.splits["train"]]
        return statistics.fmean(labels), statistics.pstdev(labels)


def normal(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the key under which two rows are the same: their words, whatever the case and the space between."""
    return tuple(" ".join(t.lower().split()) for t in texts)


def without_duplicates(
    splits: Mapping[str, Sequence[Example]], key: Callable[[Example], object] = lambda e: normal(e.texts)
) -> Splits:
    """Drop repeated texts: those of test stay, so that none of them is seen in training."""
    keys: set[object] = set()
    clean: Splits = {}
    for name in ("test", "validation", "train"):
        for example in splits.get(name, []):
            if (value := key(example)) not in keys:
                keys.add(value)
                clean.setdefault(name, []).append(example)
    return clean


def cut(by_split: Mapping[str, Sequence[Example]], shares: Sequence[float], seed: int) -> Splits:
    """Cut the missing splits from train, label by label (in a regression tenth by tenth), as ``seed`` alone decides.

    Where the share of a label is less than a row, some of these labels give a row and others none; train keeps a row of
    each label.
    """
    missing = [i for i, name in enumerate(SPLITS) if i and name not in by_split]
    rng = random.Random(f"split-{seed}")
    train = by_split.get("train", [])
    splits: Splits = {name: list(by_split.get(name, [])) for name in SPLITS if name != "train"}
    splits["train"] = []
    total = shares[0] + sum(shares[i] for i in missing)
    strata = _strata(train)
    counts = _row_counts([len(rows) for rows in strata], [shares[i] / total for i in missing], seed)
    for rows, sizes in zip(strata, counts, strict=True):
        rng.shuffle(rows)
        remaining = rows
        for i, count in zip(missing, sizes, strict=True):
            splits[SPLITS[i]] += [train[row] for row in remaining[:count]]
            remaining = remaining[count:]
        splits["train"] += [train[row] for row in remaining]
    for name in ("train", *(SPLITS[i] for i in missing)):
        rng.shuffle(splits[name])
    return splits


def _row_counts(sizes: Sequence[int], shares: Sequence[float], seed: int) -> list[list[int]]:
    """Return the number of rows that each stratum gives to each split that is cut: its share, rounded.

    Strata whose share rounds to 0 give together the rounded sum of their shares, in an order drawn by ``seed``.
    """
    counts = [[round(size * share) for share in shares] for size in sizes]
    rng = random.Random(f"small-{seed}")
    for split, share in enumerate(shares):
        small = [k for k, split_sizes in enumerate(counts) if split_sizes[split] == 0]
        quota = round(sum(sizes[k] * share for k in small))
        rng.shuffle(small)
        candidates = sorted((k for k in small if sum(counts[k]) < sizes[k] - 1), key=lambda k: sum(counts[k]))
        for k in candidates[:quota]:
            counts[k][split] = 1
    return counts


def _strata(rows: Sequence[Example]) -> list[list[int]]:
    """Return the indices of the rows of each label, or of each tenth of the numbers."""
    if any(isinstance(e.label, float) for e in rows):
        order = sorted(range(len(rows)), key=lambda row: rows[row].label)
        size = max(1, -(-len(order) // _STRATA))
        return [order[i : i + size] for i in range(0, len(order), size)]
    by_label: dict[int | float, list[int]] = {}
    for row, example in enumerate(rows):
        by_label.setdefault(example.label, []).append(row)
    return [by_label[label] for label in sorted(by_label)]


def capped(splits: Mapping[str, list[Example]], rows: int | None, seed: int) -> Splits:
    """Return at most ``rows`` rows of each split, drawn by ``seed`` and left in their order: files are often sorted.

    Labels keep their shares, and at least one row each as long as ``rows`` suffice.
    """
    rng = random.Random(f"cap-{seed}")
    return {name: _sample(split, rows, rng) if rows and len(split) > rows else split for name, split in splits.items()}


def _sample(split: Sequence[Example], rows: int, rng: random.Random) -> list[Example]:
    strata = _strata(split)
    quotas = [rows * len(stratum) / len(split) for stratum in strata]
    counts = [max(1, int(quota)) for quota in quotas]
    order = sorted(range(len(strata)), key=lambda k: (quotas[k] - counts[k], rng.random()), reverse=True)
    for k in order[: max(0, rows - sum(counts))]:
        counts[k] += 1
    while sum(counts) > rows:  # many rare labels: the most frequent ones lose a row first, and then the rarest
        largest = max(range(len(strata)), key=lambda k: (counts[k], -quotas[k]))
        counts[largest] -= 1
    indices = sorted(row for stratum, count in zip(strata, counts, strict=True) for row in rng.sample(stratum, count))
    return [split[row] for row in indices]
